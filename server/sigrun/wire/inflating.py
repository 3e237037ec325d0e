"""Inflate what zlib has packed, piece by piece and up to a bound, whatever it claims to be.

In: packed bytes, as they came. Out: pieces of what is in them. What is wrong is said in the words
of whoever knows which message it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from sigrun.concurrency.budget import Growth

GZIP = zlib.MAX_WBITS | 16  # the wrappings, as zlib takes them
DEFLATE = zlib.MAX_WBITS

S_PER_BYTE = 2e-8
"""What inflating takes for each packed byte; numbers grow to about three times as much."""

_PIECE_BYTES = 1 << 20


class NotPacked(Exception):
    """The bytes are not what they should be; the text says why."""


class CutShort(Exception):
    """The bytes end before what is packed in them does."""


class TooMuch(Exception):
    """More came out than was allowed."""


def inflated(
    packed: bytes, wrapping: int, max_bytes: int, growth: Growth, *, takes_members: bool = False
) -> Iterator[bytes]:
    """Yield what is in `packed`; with `takes_members`, of each member of a gzip file in turn.

    Raises `NotPacked`, `CutShort`, `TooMuch` as soon as more than `max_bytes` came out, and `Full`
    where `growth` finds no room for it.
    """
    size = 0
    while True:
        inflater = zlib.decompressobj(wrapping)
        while not inflater.eof:
            try:
                piece = inflater.decompress(packed, _PIECE_BYTES)
            except zlib.error as error:
                raise NotPacked(str(error)) from None
            if not piece and not inflater.eof:
                raise CutShort
            packed = inflater.unconsumed_tail
            growth.add(len(piece))
            size += len(piece)
            if size > max_bytes:
                raise TooMuch
            yield piece
        packed = inflater.unused_data
        if not (takes_members and packed):
            return
