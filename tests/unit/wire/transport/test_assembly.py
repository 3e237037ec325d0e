"""Bodies in pieces; what is reserved is not seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.wire.transport import assembly as assembly_module
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


def test_a_body_of_known_length_is_in_one_place_from_the_start() -> None:
    assembly = Assembly(1_000_000)
    assembly.add(b"x" * 100_000)
    assembly.add(b"x" * 100_000)
    room = assembly._room

    for _ in range(8):
        assembly.add(b"x" * 100_000)

    assert room is not None
    assert assembly.take() is room.take(1_000_000)
    assert type(assembly.take()) is bytes


@pytest.mark.parametrize("fails", ["_new_bytes", "_resize"])
def test_without_room_for_what_may_come_there_is_room_for_what_has(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = getattr(assembly_module, fails)

    def refuse(what: object, size: int) -> object:
        if size > 100:
            raise MemoryError
        return make(what, size)

    monkeypatch.setattr(assembly_module, fails, refuse)
    monkeypatch.setattr(assembly_module, "_FIRST_BYTES", 1000)
    assembly = Assembly(1000 if fails == "_new_bytes" else None)

    for _ in range(10):
        assembly.add(b"0123456789")

    assert assembly.take() == b"0123456789" * 10
