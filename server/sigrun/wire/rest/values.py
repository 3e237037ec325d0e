"""What some values mean in every body: the name of a signature, and bytes in base64."""

from __future__ import annotations

import binascii
import io
import string
from collections.abc import Mapping
from typing import Any

from sigrun.concurrency.pace import Pace
from sigrun.errors import InvalidArgument
from sigrun.wire.json.document import Members
from sigrun.wire.json.values import excerpt

_B64 = "b64"
_DECODED_AT_ONCE = 512 * 1024  # characters, four by four
_PADDING = "=."


def signature_name(members: Members) -> str:
    """Return the name of the signature that a body asks for, "" if it names none.

    Raises `InvalidArgument` for a name that is not a string.
    """
    name = members.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidArgument(
            f"JSON Value: {excerpt(members)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def is_base64(value: Any) -> bool:
    """Return whether `value` is `{"b64": "..."}`, which stands for bytes."""
    return type(value) is dict and len(value) == 1 and type(value.get(_B64)) is str


def from_base64(value: Mapping[str, Any], pace: Pace) -> bytes:
    """Return the bytes of `{"b64": "..."}`.

    As abseil reads it: white space may be anywhere, padding may be left out or be dots.
    Raises `InvalidArgument` for another object, and if the text is not base64.
    """
    if not is_base64(value):
        raise InvalidArgument(
            f"JSON Value: {excerpt(value)} not formatted correctly for base64 data"
        )
    text: str = value[_B64]
    try:
        # Most are as the standard has them. More padding than it has, Python would take.
        if len(text) % 4 == 0 and len(text) <= _DECODED_AT_ONCE and text[-3:-2] != "=":
            return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    return _decoded(text, pace)


def _decoded(text: str, pace: Pace) -> bytes:
    digits = text.rstrip(_PADDING + string.whitespace)
    padding = sum(text.count(character, len(digits)) for character in _PADDING)
    decoded = io.BytesIO()
    rest = b""
    try:
        for start in range(0, len(digits), _DECODED_AT_ONCE):
            part = digits[start : start + _DECODED_AT_ONCE].encode("ascii")
            part = rest + part.translate(None, string.whitespace.encode())
            if b"=" in part:
                raise ValueError
            whole = len(part) - len(part) % 4
            decoded.write(binascii.a2b_base64(part[:whole], strict_mode=True))
            rest = part[whole:]
            pace()
        missing = -len(rest) % 4
        if padding not in (0, missing):
            raise ValueError
        decoded.write(binascii.a2b_base64(rest + b"=" * missing, strict_mode=True))
    except ValueError:
        raise InvalidArgument("Unable to base64 decode") from None
    return decoded.getvalue()
