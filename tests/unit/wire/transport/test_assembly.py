"""Bodies in pieces; what is reserved is not seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.wire.transport.assembly import Assembly


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_a_body_is_the_pieces_one_after_the_other(pieces: list[bytes], says_length: bool) -> None:
    whole = b"".join(pieces)
    assembly = Assembly(len(whole) if says_length else None)

    for piece in pieces:
        assembly.add(piece)

    assert len(assembly) == len(whole)
    assert assembly.take() == whole


@pytest.mark.parametrize("says_length", [True, False])
def test_a_large_body_is_whole(says_length: bool) -> None:
    pieces = [bytes([n]) * (256 * 1024) for n in range(40)]
    assembly = Assembly(40 * 256 * 1024 if says_length else None)

    for piece in pieces:
        assembly.add(piece)

    assert assembly.take() == b"".join(pieces)


@pytest.mark.parametrize("length", [0, 3, 10**15])
def test_a_length_that_is_wrong_does_not_matter(length: int) -> None:
    assembly = Assembly(length)

    assembly.add(b"ab")
    assembly.add(b"cdef")

    assert assembly.take() == b"abcdef"


def test_one_piece_is_not_copied() -> None:
    piece = b"abc" * 1000
    assembly = Assembly(None)

    assembly.add(piece)

    assert assembly.take() is piece


def test_room_for_all_of_a_body_is_reserved_once() -> None:
    assembly = Assembly(1_000_000)
    assembly.add(b"x" * 100_000)
    assembly.add(b"x" * 100_000)
    room = assembly._room

    for _ in range(8):
        assert len(room) == 1_000_000
        assembly.add(b"x" * 100_000)

    assert assembly.take() is room
