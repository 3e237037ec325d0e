"""Bodies in gzip: read up to a bound, whatever they claim to be; written when asked for."""

from __future__ import annotations

import re
import zlib

from sigrun.concurrency.budget import Growth
from sigrun.errors import InvalidArgument
from sigrun.wire.body import Body
from sigrun.wire.http.messages import RequestTooLarge, UnsupportedEncoding
from sigrun.wire.inflating import GZIP, S_PER_BYTE, CutShort, NotPacked, TooMuch, inflated

_OTHER_ENCODINGS = re.compile(rb"\b(?:br|compress|deflate|zstd)\b", re.IGNORECASE)
# Bodies are numbers and short texts: more effort saves little, and takes many times as long.
_LEVEL = 1
_DEFLATE_S_PER_BYTE = 1e-8
_ACCEPTS_GZIP = re.compile(
    rb"(?:^|,)\s*(?:x-)?(?:gzip|\*)\s*(?:;\s*q\s*=\s*(?P<q>[\d.]+)\s*)?(?:,|$)", re.IGNORECASE
)


def is_gzip(content_encoding: bytes) -> bool:
    """Return whether a body is to be inflated; an encoding that means nothing is passed over.

    Raises `UnsupportedEncoding` for a compression other than gzip.
    """
    if b"gzip" in content_encoding.lower():
        return True
    if _OTHER_ENCODINGS.search(content_encoding):
        raise UnsupportedEncoding(
            f"Content-Encoding {content_encoding.decode('latin-1')} is not read here: "
            "send gzip, or no compression"
        )
    return False


def inflate_cost_s(body: Body) -> float:
    """Return the time that `inflate` will take, by what a body usually grows to."""
    return len(body) * S_PER_BYTE


def inflate(body: Body, max_bytes: int, growth: Growth) -> bytearray:
    """Return what is in a gzip body.

    Raises `InvalidArgument` if it is none or is cut short, `RequestTooLarge` as soon as
    more than `max_bytes` come out, `Full` where there is no room for it.
    """
    whole = bytearray()
    if not body:
        return whole
    try:
        for piece in inflated(bytes(body), GZIP, max_bytes, growth, takes_members=True):
            whole += piece
    except NotPacked as error:
        raise InvalidArgument(
            f"The body is not gzip, as its Content-Encoding says: {error}"
        ) from None
    except CutShort:
        raise InvalidArgument("The gzip body is cut short") from None
    except TooMuch:
        raise RequestTooLarge(f"The gzip body holds more than {max_bytes} bytes") from None
    return whole


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Return whether a client has asked for gzip."""
    match = _ACCEPTS_GZIP.search(accept_encoding)
    return match is not None and (match["q"] is None or match["q"].strip(b"0.") != b"")


def deflate_cost_s(body: bytes) -> float:
    """Return the time that `deflate` will take."""
    return len(body) * _DEFLATE_S_PER_BYTE


def deflate(body: bytes) -> bytes:
    """Return `body` in gzip."""
    compressor = zlib.compressobj(_LEVEL, wbits=GZIP)
    return compressor.compress(body) + compressor.flush()
