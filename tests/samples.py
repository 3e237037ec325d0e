"""Arrays of every element type: a few by hand, and any by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sigrun.tensors.signature import Array, DType

SAMPLES: dict[DType, list[Any]] = {
    DType.FLOAT: [1.5, float("nan"), -0.0],
    DType.DOUBLE: [1.5, float("-inf"), 0.1],
    DType.INT32: [1, -2, 2**31 - 1],
    DType.UINT8: [1, 127, 255],
    DType.INT16: [1, -2, 32767],
    DType.INT8: [1, -2, 127],
    DType.STRING: [b"a", b"", b"\xff" * 300],
    DType.COMPLEX64: [1 + 2j, 3 - 4j, 5j],
    DType.INT64: [1, -(2**63), 2**63 - 1],
    DType.BOOL: [True, False, True],
    DType.BFLOAT16: [1.0, -2.0, 0.5],
    DType.UINT16: [1, 2, 65535],
    DType.COMPLEX128: [1 + 2j, 3 - 4j, 5j],
    DType.HALF: [1.0, -2.0, 0.5],
    DType.UINT32: [1, 2, 2**32 - 1],
    DType.UINT64: [1, 2, 2**64 - 1],
}

STRINGS = hnp.arrays(
    object, hnp.array_shapes(min_dims=0, min_side=0), elements=st.binary(max_size=200)
)
ARRAYS = STRINGS | st.sampled_from(sorted(set(DType) - {DType.STRING, DType.BFLOAT16})).flatmap(
    lambda dtype: hnp.arrays(dtype.numpy, hnp.array_shapes(min_dims=0, min_side=0, max_side=6))
)


def sample(dtype: DType, repeated: int = 1) -> Array:
    """Return a vector of `dtype`: its three samples, over and over."""
    return np.array(SAMPLES[dtype] * repeated, dtype.numpy)
