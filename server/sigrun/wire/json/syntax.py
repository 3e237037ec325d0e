"""A JSON text -> Python's lists, dicts and numbers, as TensorFlow Serving reads JSON.

orjson reads what is JSON. NaN, Inf and Infinity, which TensorFlow Serving takes too, are
read by Python's own parser, which is slower. What follows the value is ignored, as it is
there: some clients send the zero byte that ends a string in C.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from sigrun.errors import InvalidArgument
from sigrun.wire.body import Body

# A string, closed or not, whose inside is left alone; or a number that JSON does not have.
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|(-?)(NaN|Inf(?:inity)?)', re.DOTALL)
_BACKSLASH = ord("\\")
_MORE_FOLLOWS = "unexpected content after document"  # orjson's words
_MAX_INTEGER_DIGITS = 20  # of those in 64 bits, with the sign
_SEARCHED_BYTES = 1024 * 1024  # in one call, which holds the GIL: a tenth of a millisecond
_INTEGERS = range(-(2**63), 2**64)


def parse(body: Body) -> Any:
    """Return the value of a JSON text. Raises `InvalidArgument` if it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body:
            raise InvalidArgument("JSON Parse error: The document is empty") from None
        if error.msg == _MORE_FOLLOWS:
            return orjson.loads(body[: _offset(body, error)])
        if b"NaN" not in body and b"Inf" not in body:
            raise _parse_error(body, error) from None
    return parse_with_non_finite(body)


def parse_with_non_finite(body: Body) -> Any:
    """Parse a body that is JSON except for NaN, Inf and Infinity."""
    try:
        # With zeros of the same length in their place the rest must be JSON. So mistakes are
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
    """Return the first mistake in a text and at which byte it is, or None if it is JSON."""
    body = _STRING_OR_NUMBER.sub(_as_zero, body)
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return error.msg, _offset(body, error)
    return None


def find(text: Body, byte: bytes, start: int, stop: int | None = None) -> int:
    """Return where a byte stands first, or -1; other threads may run while megabytes are passed."""
    stop = len(text) if stop is None else stop
    for at in range(start, stop, _SEARCHED_BYTES):
        found = text.find(byte, at, min(at + _SEARCHED_BYTES, stop))
        if found >= 0:
            return found
    return -1


def rfind(text: Body, byte: bytes, start: int, stop: int) -> int:
    """Return where a byte stands last, or -1; see `find`."""
    for end in range(stop, start, -_SEARCHED_BYTES):
        found = text.rfind(byte, max(start, end - _SEARCHED_BYTES), end)
        if found >= 0:
            return found
    return -1


def end_of_string(text: Body, start: int) -> int:
    """Return where the string ends whose quote is at `start`, or the text if it is not closed."""
    quote = start
    while (quote := find(text, b'"', quote + 1)) >= 0:
        first = quote
        while text[first - 1] == _BACKSLASH:
            first -= 1
        if (quote - first) % 2 == 0:  # an even number of backslashes: they escape one another
            return quote + 1
    return len(text)


def parse_error(text: str, offset: int) -> InvalidArgument:
    """Return the refusal of a text that has a mistake at byte `offset`."""
    return InvalidArgument(f"JSON Parse error: {text} at offset: {offset}")


def _parse_error(body: Body, error: json.JSONDecodeError) -> InvalidArgument:
    return parse_error(error.msg, _offset(body, error))


def _offset(body: Body, error: json.JSONDecodeError) -> int:
    """Return at which byte the error is."""
    if not error.doc:  # the body is not UTF-8
        try:
            body.decode()
        except UnicodeDecodeError as not_text:
            return not_text.start
    return len(error.doc[: error.pos].encode())


def _as_zero(match: re.Match[bytes]) -> bytes:
    if match[2] is None:
        return match[0]
    return match[1] + b"0.".ljust(len(match[2]), b"0")


def _as_python_spells_it(match: re.Match[bytes]) -> bytes:
    if match[2] is None:
        return match[0]
    return b"NaN" if match[2] == b"NaN" else match[1] + b"Infinity"


def _integer(text: str) -> float:
    """Return an integer of 64 bits, signed or not, as such; orjson makes larger ones floats."""
    if len(text) <= _MAX_INTEGER_DIGITS and (value := int(text)) in _INTEGERS:
        return value
    return float(text)
