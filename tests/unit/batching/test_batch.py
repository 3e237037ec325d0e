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
    check_outputs,
    form_of,
    join,
    rows_of,
    split,
)
from sigrun.errors import Code, InvalidArgument, SigrunError
from sigrun.tensors.signature import Array
from tests.arrays import assert_same


def floats(*values: Any) -> Array:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ([], "Batching Run() must have at least one input tensor"),
        (
            [floats(1, 2), np.array(1.0)],
            "Batching Run() input tensors must have at least one dimension",
        ),
        (
            [floats(1, 2), floats(1)],
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_inputs_without_a_common_first_dimension_are_refused(
    arrays: list[Array], text: str
) -> None:
    with pytest.raises(InvalidArgument) as error:
        rows_of(arrays)

    assert str(error.value) == text


def test_the_rows_of_a_request_are_its_first_dimension() -> None:
    assert rows_of([np.zeros((3, 2)), np.zeros(3)]) == 3
    assert rows_of([np.zeros((0, 2))]) == 0


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([floats(1, 2), np.array(1.0)], "Batched output tensor has 0 dimensions"),
        (
            [floats(1, 2, 3)],
            (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors"
            ),
        ),
    ],
)
def test_outputs_that_cannot_be_divided_are_refused(outputs: list[Array], text: str) -> None:
    with pytest.raises(SigrunError) as error:
        check_outputs(outputs, rows=2)

    assert error.value.code is Code.FAILED_PRECONDITION
    assert str(error.value) == text


def test_requests_have_the_same_form_if_they_differ_in_rows_only() -> None:
    first = [np.zeros((1, 2)), np.zeros((1, 3, 4))]
    second = [np.zeros((9, 2)), np.zeros((9, 3, 4))]
    third = [np.zeros((1, 2)), np.zeros((1, 3, 5))]

    assert form_of(first, pad=False) == form_of(second, pad=False)
    assert form_of(first, pad=False) != form_of(third, pad=False)


def test_with_padding_requests_have_the_same_form_if_the_ranks_agree() -> None:
    assert form_of([np.zeros((1, 2))], pad=True) == form_of([np.zeros((4, 9))], pad=True)
    assert form_of([np.zeros((1, 2))], pad=True) != form_of([np.zeros(1)], pad=True)


@pytest.mark.parametrize("shape", [(1, 0), (1, 2, 2, 2, 2, 2, 2)])
def test_what_cannot_be_padded_has_the_form_of_its_shape(shape: tuple[int, ...]) -> None:
    longer = (*shape[:-1], shape[-1] + 1)

    assert form_of([np.zeros(shape)], pad=True) == form_of([np.zeros(shape)], pad=True)
    assert form_of([np.zeros(shape)], pad=True) != form_of([np.zeros(longer)], pad=True)


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
    ("arrays", "text"),
    [
        (
            [np.zeros((1, 1, 1, 1, 1, 1, 1)), np.zeros((1, 1, 1, 1, 1, 1, 2))],
            "Only tensors with rank from 1 to 6 can be padded.",
        ),
        ([np.zeros((1, 0)), np.zeros((1, 2))], "Got empty tensor in batch of non-empty tensors."),
    ],
)
def test_arrays_that_cannot_be_padded_are_refused(arrays: list[Array], text: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        assemble([[array] for array in arrays], rows=2)

    assert str(error.value) == text


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
