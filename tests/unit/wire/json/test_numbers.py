"""Large arrays of numbers, which are read and searched by slices."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sigrun.concurrency.pace import SLICE_BYTES, keep_on
from sigrun.tensors.signature import DType
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json import numbers, syntax

# Of a row of two, four bytes are structure: `[,]` and the comma behind it.
ROWS_OF_A_SLICE = SLICE_BYTES // 4


def read(text: str) -> np.ndarray:
    found = numbers.read_numbers(memoryview(text.encode()), keep_on)
    return found.array(DType.INT32, keep_on)


@pytest.mark.parametrize("rows", [ROWS_OF_A_SLICE + n for n in range(-2, 3)])
def test_the_end_of_an_element_is_found_wherever_slices_end(rows: int) -> None:
    array = np.arange(4 * rows).reshape(2, rows, 2)

    assert np.array_equal(read(json.dumps(array.tolist())), array)


def test_an_element_without_an_end_is_uneven() -> None:
    rows = ",".join(["[1,2]"] * ROWS_OF_A_SLICE)

    with pytest.raises(NotOnFastPath):
        read(f"[[{rows}],[{rows},[1]]]")


def test_brackets_without_numbers_are_no_array() -> None:
    for text in ("", ",", "]", "[" * 300, "[1],[2]"):
        with pytest.raises(NotOnFastPath):
            read(text)


def test_space_in_which_a_slice_would_end_does_not_matter() -> None:
    space = " " * (SLICE_BYTES - 100)

    assert read(f"[1,{space}2,{space}3]").tolist() == [1, 2, 3]


def test_a_slice_without_a_number_is_no_array() -> None:
    with pytest.raises(NotOnFastPath):
        read(f"[1,{' ' * 2 * SLICE_BYTES}2]")


@pytest.mark.parametrize("searched", [1, 2, 3, 100])
def test_a_byte_is_found_wherever_it_stands(searched: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "_SEARCHED_BYTES", searched)
    text = b".x...x."

    assert [syntax.find(text, b"x", start) for start in range(8)] == [1, 1, 5, 5, 5, 5, -1, -1]
    assert [syntax.find(text, b"x", 2, stop) for stop in range(8)] == [-1] * 6 + [5, 5]
    assert [syntax.rfind(text, b"x", 0, stop) for stop in range(8)] == [-1, -1, 1, 1, 1, 1, 5, 5]
    assert [syntax.rfind(text, b"x", start, 7) for start in range(8)] == [5] * 6 + [-1, -1]
