"""What is written as JSON reads back as the same array: every dtype, ranks 0 to 5, both formats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun.concurrency.pace import keep_on
from sigrun.tensors.signature import Array, DType
from sigrun.wire.json import outputs
from sigrun.wire.rest import examples_body, predict_body
from tests.arrays import assert_same
from tests.fakes.servables import signature
from tests.fuzzing import rounds

SERVED = sorted(set(DType) - {DType.COMPLEX64, DType.COMPLEX128})


def arrays(dtype: DType, min_rank: int = 0) -> st.SearchStrategy[Array]:
    """Return arrays of `dtype`, of up to five dimensions.

    None is empty: JSON has no way to say what would be inside of an empty list.
    """
    shapes = hnp.array_shapes(min_dims=0, max_dims=5, max_side=3).filter(
        lambda shape: len(shape) >= min_rank
    )
    if dtype is DType.STRING:
        return hnp.arrays(object, shapes, elements=st.text(max_size=5).map(str.encode))
    if dtype is DType.BFLOAT16:
        return hnp.arrays(np.float32, shapes).map(lambda a: a.astype(dtype.numpy))
    return hnp.arrays(dtype.numpy, shapes)


def read(text: bytes, dtypes: Mapping[str, DType]) -> Mapping[str, Array]:
    body = text.replace(b"predictions", b"instances", 1).replace(b"outputs", b"inputs", 1)
    return predict_body.read(body, keep_on).bind(signature(dtypes, {}), keep_on)


@pytest.mark.parametrize("dtype", SERVED, ids=lambda dtype: dtype.name)
@settings(max_examples=rounds(10))
@given(data=st.data())
def test_columns_read_back_as_they_were(dtype: DType, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype))

    again = read(outputs.outputs({"x": array}, keep_on), {"x": dtype})

    assert_same(again["x"], array)


@pytest.mark.parametrize("dtype", SERVED, ids=lambda dtype: dtype.name)
@settings(max_examples=rounds(10))
@given(data=st.data())
def test_rows_read_back_as_they_were(dtype: DType, data: st.DataObject) -> None:
    array = data.draw(arrays(dtype, min_rank=1))
    number = np.arange(len(array), dtype=np.int32)

    alone = read(outputs.predictions({"x": array}, keep_on), {"x": dtype})
    together = read(
        outputs.predictions({"x": array, "n": number}, keep_on), {"x": dtype, "n": DType.INT32}
    )

    assert_same(alone["x"], array)
    assert_same(together["x"], array)
    assert_same(together["n"], number)


@given(strings=hnp.arrays(object, (3,), elements=st.binary(max_size=9)))
def test_bytes_read_back_from_base64(strings: Array) -> None:
    again = read(outputs.predictions({"x_bytes": strings}, keep_on), {"x_bytes": DType.STRING})

    assert_same(again["x_bytes"], strings)


@given(
    numbers=st.lists(st.floats(width=32, allow_nan=False), min_size=1),
    integers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    texts=st.lists(st.text(), min_size=1),
)
def test_features_are_what_was_sent(
    numbers: list[float], integers: list[int], texts: list[str]
) -> None:
    document = {"examples": [{"f": numbers, "i": integers, "t": texts}]}

    (serialized,) = examples_body.read(
        outputs._dump(document, np.array(numbers)),  # writes infinities too
        keep_on,
    ).examples

    feature = Example.FromString(serialized).features.feature
    assert list(feature["f"].float_list.value) == numbers
    assert list(feature["i"].int64_list.value) == integers
    assert list(feature["t"].bytes_list.value) == [text.encode() for text in texts]
