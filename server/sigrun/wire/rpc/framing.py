"""What gRPC and gRPC-Web have in common: frames, time limits, statuses.

A frame is a byte of flags, a size in four bytes, and so many bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from sigrun.errors import InvalidArgument

MESSAGE = 0
COMPRESSED = 1
HEAD_BYTES = 5

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")

# Visible ASCII travels as it is, but for the sign of what does not.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def frame_head(flags: int, size: int) -> bytes:
    """Return what stands before the bytes of a frame."""
    return bytes((flags,)) + size.to_bytes(4, "big")


def size_after(head: bytes) -> int:
    """Return how many bytes follow the head of a frame."""
    return int.from_bytes(head[1:HEAD_BYTES], "big")


def timeout_s(headers: Mapping[bytes, bytes]) -> float | None:
    """Return the time that the caller gives. Raises `InvalidArgument` for a malformed one."""
    timeout = headers.get(b"grpc-timeout")
    if timeout is None:
        return None
    match = _TIMEOUT.fullmatch(timeout)
    if match is None:
        raise InvalidArgument(
            "Grpc-Timeout must be up to 8 digits and one of HMSmun, "
            f"not {timeout.decode('latin-1')!r}"
        )
    return int(match[1]) * _UNITS[match[2]]


def quoted(text: str) -> bytes:
    """Return the text of a status as it travels in `grpc-message`: percent-encoded UTF-8."""
    return quote(text, safe=_PLAIN, errors="replace").encode()
