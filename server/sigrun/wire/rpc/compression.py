"""gRPC's message compression: one message at a time, inflated up to a bound."""

from __future__ import annotations

from collections.abc import Mapping

from sigrun.concurrency.budget import Growth
from sigrun.errors import InvalidArgument, ResourceExhausted, Unimplemented
from sigrun.wire.inflating import DEFLATE, GZIP, S_PER_BYTE, CutShort, NotPacked, TooMuch, inflated

ACCEPTED = b"identity,deflate,gzip"

_WRAPPINGS: Mapping[bytes, int] = {b"gzip": GZIP, b"deflate": DEFLATE}


def cost_s(message: bytes) -> float:
    """Return the time that `inflate` will take."""
    return len(message) * S_PER_BYTE


def inflate(message: bytes, encoding: bytes, max_bytes: int, growth: Growth) -> bytes:
    """Return what a compressed message holds.

    Raises `Unimplemented` for an unknown encoding, `InvalidArgument` for broken data and
    `ResourceExhausted` as soon as more than `max_bytes` come out, or more than there is room for.
    """
    wrapping = _WRAPPINGS.get(encoding)
    if wrapping is None:
        raise Unimplemented(
            f"grpc-encoding {encoding.decode('latin-1')!r} is not read here: "
            f"use one of {ACCEPTED.decode()}"
        )
    try:
        return b"".join(inflated(message, wrapping, max_bytes, growth))
    except NotPacked as error:
        raise InvalidArgument(f"The message is not {encoding.decode()}: {error}") from None
    except CutShort:
        raise InvalidArgument(f"The {encoding.decode()} message is cut short") from None
    except TooMuch:
        raise ResourceExhausted(
            f"Received message larger than max: it inflates to more than {max_bytes} bytes"
        ) from None
