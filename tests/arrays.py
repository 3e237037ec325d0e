"""Compare arrays."""

from __future__ import annotations

import numpy as np

from sigrun.tensors.signature import Array, DType


def assert_same(actual: Array, expected: Array) -> None:
    """Fail unless both have the same dtype, shape and elements; NaN is the same as NaN."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if actual.dtype == DType.BFLOAT16.numpy:  # whose NaN numpy does not know as one
        actual, expected = actual.astype(np.float32), expected.astype(np.float32)
    np.testing.assert_array_equal(actual, expected)
