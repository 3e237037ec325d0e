"""gRPC's message compression: one message at a time, inflated up to a bound."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from sigrun.concurrency.budget import Growth
from sigrun.errors import InvalidArgument, ResourceExhausted, Unimplemented

ACCEPTED = b"identity,deflate,gzip"

# How zlib is told which wrapping to expect.
_WINDOWS: Mapping[bytes, int] = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}

_PIECE_BYTES = 1 << 20
_S_PER_BYTE = 2e-8  # of the packed message; numbers grow to about three times as much


def cost_s(message: bytes) -> float:
    """Return the time that `inflate` will take."""
    return len(message) * _S_PER_BYTE


def inflate(message: bytes, encoding: bytes, max_bytes: int, growth: Growth) -> bytes:
    """Return what a compressed message holds.

    Raises `Unimplemented` for an unknown encoding, `InvalidArgument` for broken data and
    `ResourceExhausted` as soon as more than `max_bytes` come out, or more than there is room for.
    """
    window = _WINDOWS.get(encoding)
    if window is None:
        raise Unimplemented(
            f"grpc-encoding {encoding.decode('latin-1')!r} is not read here: "
            f"use one of {ACCEPTED.decode()}"
        )
    inflater = zlib.decompressobj(window)
    pieces: list[bytes] = []
    size, rest = 0, message
    while not inflater.eof:
        try:
            piece = inflater.decompress(rest, _PIECE_BYTES)
        except zlib.error as error:
            raise InvalidArgument(f"The message is not {encoding.decode()}: {error}") from None
        if not piece and not inflater.eof:
            raise InvalidArgument(f"The {encoding.decode()} message is cut short")
        growth.add(len(piece))
        pieces.append(piece)
        size += len(piece)
        rest = inflater.unconsumed_tail
        if size > max_bytes:
            raise ResourceExhausted(
                f"Received message larger than max: it inflates to more than {max_bytes} bytes"
            )
    return b"".join(pieces)
