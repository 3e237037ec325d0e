from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.batching.batch import (
    ALIGNMENT_BYTES,
    aligned_empty,
    assemble,
    join,
    misfit,
    split,
)
from sigrun.tensors.signature import Array
from tests.arrays import assert_same


def floats(*values: Any) -> Array:
    return np.array(values, np.float32)


def test_the_first_output_without_an_entry_for_each_row_is_found() -> None:
    fits, scalar, short = floats(1, 2), np.array(1.0), floats(1)

    assert misfit([fits, fits], rows=2) is None
    assert misfit([fits, scalar], rows=2) is scalar
    assert misfit([fits, short, scalar], rows=2) is short
    assert misfit([], rows=2) is None


def test_of_equal_scalars_one_is_left() -> None:
    scalar = np.array(2.0)

    batch = assemble([[floats(1), scalar], [floats(2), scalar.copy()]], rows=2)

    assert_same(batch[0], floats(1, 2))
    assert batch[1] is scalar


def test_rows_are_put_one_after_the_other() -> None:
    batch = assemble([[floats([1, 2]), floats(5)], [floats([3, 4], [5, 6]), floats(6, 7)]], rows=3)

    assert_same(batch[0], floats([1, 2], [3, 4], [5, 6]))
    assert_same(batch[1], floats(5, 6, 7))


def test_strings_are_put_together_as_they_are() -> None:
    (batch,) = assemble([[np.array([b"a"], object)], [np.array([b"", b"c\0"], object)]], rows=4)

    assert_same(batch, np.array([b"a", b"", b"c\0", b""], object))


def test_missing_rows_are_copies_of_the_first_row_of_the_last_request() -> None:
    (batch,) = assemble([[floats(1, 2)], [floats(3, 4)]], rows=6)

    assert_same(batch, floats(1, 2, 3, 4, 3, 3))


def test_shorter_inputs_are_filled_up_with_their_first_element() -> None:
    (batch,) = assemble([[floats([[1, 2, 3]])], [floats([[4], [5]], [[6], [7]])]], rows=4)

    assert_same(
        batch,
        floats(
            [[1, 2, 3], [1, 1, 1]],
            [[4, 4, 4], [5, 4, 4]],
            [[6, 4, 4], [7, 4, 4]],
            [[4, 4, 4], [5, 4, 4]],
        ),
    )


def test_shorter_strings_are_filled_up_with_their_first_element() -> None:
    (batch,) = assemble(
        [[np.array([[b"a", b"b"]], object)], [np.array([[b"long"]], object)]], rows=2
    )

    assert_same(batch, np.array([[b"a", b"b"], [b"long", b"long"]], object))


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.int8, np.bool_, np.complex128, ml_dtypes.bfloat16]
)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 1, 2), (2, 0)])
def test_batches_begin_where_tensorflow_reads_them_in_place(
    dtype: type, shape: tuple[int, ...]
) -> None:
    arrays = [aligned_empty(shape, np.dtype(dtype)) for _ in range(8)]

    for array in arrays:
        assert array.ctypes.data % ALIGNMENT_BYTES == 0
        assert array.flags.c_contiguous
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))


def test_each_request_gets_its_rows_without_a_copy() -> None:
    outputs = [floats(1, 2, 3, 9), np.array([b"a", b"b", b"c", b"padding"], object)]

    first, second = split(outputs, [1, 2])

    assert_same(first[0], floats(1))
    assert_same(second[0], floats(2, 3))
    assert_same(second[1], np.array([b"b", b"c"], object))
    assert all(np.shares_memory(share[0], outputs[0]) for share in (first, second))


def test_pieces_are_joined_in_order() -> None:
    pieces = [[floats(1), np.array([b"a"], object)], [floats(2, 3), np.array([b"b", b"c"], object)]]

    joined = join(pieces)

    assert_same(joined[0], floats(1, 2, 3))
    assert_same(joined[1], np.array([b"a", b"b", b"c"], object))


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    inner=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from([np.float32, np.int64, np.bool_, np.uint8, ml_dtypes.bfloat16]),
    padding=st.integers(0, 3),
)
def test_what_is_put_together_comes_apart_again(
    sizes: list[int], inner: list[int], dtype: type, padding: int
) -> None:
    random = np.random.default_rng(0)
    requests: list[list[Array]] = [
        [random.integers(0, 100, (size, *inner)).astype(dtype)] for size in sizes
    ]

    batch = assemble(requests, rows=sum(sizes) + padding)
    shares = split(batch, sizes)

    for (given_array,), (share,) in zip(requests, shares, strict=True):
        assert_same(share, given_array)
