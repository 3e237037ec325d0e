"""The text of a body -> Python's lists, dicts and numbers, as TensorFlow Serving reads JSON.

What orjson takes is read by it. NaN, Inf and Infinity, which TensorFlow Serving takes too,
are read by the slower way below. What follows the value is passed over, as it does: clients
are known to send the zero that ends a string in C.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import orjson

from sigrun.errors import InvalidArgument
from sigrun.wire.body import Body
from sigrun.wire.json.lists import LargeList

_EXCERPT_CHARACTERS = 256

# A string, closed or not, whose inside is left alone; or a number that JSON does not have.
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|(-?)(NaN|Inf(?:inity)?)', re.DOTALL)
_BACKSLASH = ord("\\")
_MORE_FOLLOWS = "unexpected content after document"  # orjson's words
_MAX_INTEGER_DIGITS = 20  # of what fits in 64 bits, the sign counted


class Doubt(Exception):
    """Raised where a body is not for the quick way: it may be wrong, or only unusual."""


def parse(body: Body) -> Any:
    """Return the value of a JSON text. Raises `InvalidArgument` where it is none."""
    if not body:
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg == _MORE_FOLLOWS:
            return orjson.loads(body[: _offset(body, error)])
        if b"NaN" not in body and b"Inf" not in body:
            raise _parse_error(body, error) from None
    return parse_with_non_finite(body)


def parse_with_non_finite(body: Body) -> Any:
    """Parse a body that is JSON but for NaN, Inf and Infinity, as TensorFlow Serving does."""
    try:
        # With zeros of the same length in their place the rest must be JSON, mistakes are
        # found where they are, and strings are known to be text.
        orjson.loads(_STRING_OR_NUMBER.sub(_as_zero, body))
    except orjson.JSONDecodeError as error:
        if error.msg != _MORE_FOLLOWS:
            raise _parse_error(body, error) from None
        body = body[: _offset(body, error)]
    try:
        spelled = _STRING_OR_NUMBER.sub(_as_python_spells_it, body)
        return json.loads(spelled.decode(), parse_int=_integer)
    except json.JSONDecodeError as error:
        raise _parse_error(body, error) from None
    except RecursionError:
        raise InvalidArgument("JSON Parse error: The document is nested too deep") from None


def mistake(body: Body) -> tuple[str, int] | None:
    """Return what is wrong first in a text, and at which byte, or None if it is JSON."""
    body = _STRING_OR_NUMBER.sub(_as_zero, body)
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return error.msg, _offset(body, error)
    return None


def end_of_string(text: Body, start: int) -> int:
    """Return where the string ends whose quote is at `start`, or the text if it is not closed."""
    quote = start
    while (quote := text.find(b'"', quote + 1)) >= 0:
        first = quote
        while text[first - 1] == _BACKSLASH:
            first -= 1
        if (quote - first) % 2 == 0:  # the backslashes escape one another
            return quote + 1
    return len(text)


def _as_zero(match: re.Match[bytes]) -> bytes:
    if match[2] is None:
        return match[0]
    return match[1] + b"0.".ljust(len(match[2]), b"0")


def _as_python_spells_it(match: re.Match[bytes]) -> bytes:
    if match[2] is None:
        return match[0]
    return b"NaN" if match[2] == b"NaN" else match[1] + b"Infinity"


def _integer(text: str) -> float:
    return int(text) if len(text) <= _MAX_INTEGER_DIGITS else float(text)


def _parse_error(body: Body, error: json.JSONDecodeError) -> InvalidArgument:
    return parse_error(error.msg, _offset(body, error))


def parse_error(text: str, offset: int) -> InvalidArgument:
    """Return the refusal of a text that is wrong at a byte."""
    return InvalidArgument(f"JSON Parse error: {text} at offset: {offset}")


def _offset(body: Body, error: json.JSONDecodeError) -> int:
    """Return at which byte the error is."""
    if not error.doc:  # it is no text
        try:
            body.decode()
        except UnicodeDecodeError as not_text:
            return not_text.start
    return len(error.doc[: error.pos].encode())


def excerpt(value: Any) -> str:
    """Return the beginning of `value` as JSON text, for an error message.

    Raises `Doubt` for what is not all Python values.
    """
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False, default=_beginning).iterencode(value):
        text += piece
        if len(text) > _EXCERPT_CHARACTERS:  # the rest may be megabytes, or nested too deep
            return text[:_EXCERPT_CHARACTERS] + "..."
    return text


def _beginning(value: Any) -> Any:
    if not isinstance(value, LargeList):
        raise Doubt
    return list(itertools.islice(value, _EXCERPT_CHARACTERS))
