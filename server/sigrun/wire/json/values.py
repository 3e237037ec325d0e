"""Single JSON values: what type they are, bytes in base64, the name of a signature."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from sigrun.concurrency.pace import give_way
from sigrun.errors import InvalidArgument
from sigrun.wire.json.lists import LargeList
from sigrun.wire.json.syntax import excerpt

Document = Mapping[str, Any]

_B64 = "b64"
_BASE64_AT_ONCE = 512 * 1024  # characters, four by four


def check_object(document: Any) -> Document:
    """Return `document`. Raises `InvalidArgument` unless it is an object."""
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {excerpt(document)} Is not object")
    return document


def signature_name(document: Document) -> str:
    """Return the name of the signature that a body asks for, "" if it names none.

    Raises `InvalidArgument` for a name that is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidArgument(
            f"JSON Value: {excerpt(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def json_type(value: Any) -> str:
    """Return the type of a value, as TensorFlow Serving names it."""
    match value:
        case None:
            return "Null"
        case bool():
            return str(value)
        case str():
            return "String"
        case list() | LargeList():
            return "Array"
        case dict():
            return "Object"
        case _:
            return "Number"


def is_base64(value: Any) -> bool:
    """Return whether `value` is `{"b64": "..."}`, which stands for bytes."""
    return isinstance(value, dict) and value.keys() == {_B64} and isinstance(value[_B64], str)


def from_base64(value: Mapping[str, str]) -> bytes:
    """Return the bytes of `{"b64": "..."}`; padding may be left out.

    Raises `InvalidArgument` if the text is not base64.
    """
    text = value[_B64]
    text += "=" * (-len(text) % 4)
    try:
        if len(text) > _BASE64_AT_ONCE and "=" not in text[:-2]:
            return _from_long_base64(text)
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidArgument("Unable to base64 decode") from None


def _from_long_base64(text: str) -> bytes:
    decoded = io.BytesIO()
    for start in range(0, len(text), _BASE64_AT_ONCE):
        decoded.write(base64.b64decode(text[start : start + _BASE64_AT_ONCE], validate=True))
        give_way()
    return decoded.getvalue()
