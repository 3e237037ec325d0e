"""The text of a body -> the JSON object in it. All of `json` is reached through here.

A document is read in two steps, as nobody knows what a value is to be before the signature
is known: `read` finds the members, and `Document.convert` hands them to whoever does know.
The reader is chosen by size and content, and the caller does not see which it was:

- orjson, for small bodies: Python values.
- `numbers`, for large arrays of numbers: simdjson, and no Python object for a number.
  What stands around the arrays is read by orjson, with a mark where each array was.
- `slices`, for large bodies with strings and objects: orjson in slices, so that the GIL is
  free between them; large arrays are `LargeList`s.
- Python's own parser, for NaN and Infinity among Python values.

Arrays of numbers are the fast path. Python values are the general path, which alone knows what is
wrong with a body. So whatever fails on the fast path is done again on the general one.
"""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Any, TypeVar

import orjson

from sigrun.concurrency.pace import SLICE_BYTES, Pace
from sigrun.errors import InvalidArgument, SigrunError
from sigrun.wire.body import Body
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json import numbers, slices, syntax
from sigrun.wire.json.numbers import Numbers
from sigrun.wire.json.values import excerpt

Members = Mapping[str, Any]
T = TypeVar("T")

# Thresholds that choose a reader. Smaller bodies and arrays are read faster as Python values.
_PACKED_BODY_BYTES = 16 * 1024
_PACKED_ARRAY_BYTES = 16 * 1024

# In larger bodies smaller arrays are packed too: slower then, but without holding the GIL.
# What is left around the arrays must be smaller than this.
_LARGE_BODY_BYTES = 1024 * 1024
_PACKED_ARRAY_IN_LARGE_BODY_BYTES = 1024

# orjson reads smaller bodies at once, in a millisecond.
_SLICED_BODY_BYTES = 256 * 1024

# Arrays are looked for so deep: in members, their elements or members, and members of those.
_MARKED_DEPTH = 3

# What reading takes, and converting again: for each byte, and for each comma, which stands
# for a Python value. Measured by benchmarks/json_costs.py; objects take up to twice as long.
_S_PER_BYTE = 2e-9
_S_PER_COMMA = 100e-9
_COUNTED_BYTES = 64 * 1024  # in larger bodies commas are not counted; they take long in any case
_S_PER_BYTE_UNCOUNTED = 6e-9

# Stands where an array was. No client knows it, so none can send it.
_MARK = secrets.token_hex(16)


class Document:
    """A JSON object; made by `read`."""

    __slots__ = ("_members", "_text")

    def __init__(self, members: Members, text: Body | None) -> None:
        self._members = members
        self._text = text  # where the members are those of the fast path

    def convert(self, convert: Callable[[Members], T], pace: Pace) -> T:
        """Return what `convert` makes of the members, and raise what it raises.

        It may be called twice, and must not keep the members.
        """
        if self._text is not None:
            try:
                return convert(self._members)
            except (NotOnFastPath, SigrunError):
                self._members, self._text = read_values(self._text, pace), None
        return convert(self._members)


def cost_s(text: Body) -> float:
    """Return the time that reading the body will take, and about the same for converting it."""
    if len(text) > _COUNTED_BYTES:
        return len(text) * _S_PER_BYTE_UNCOUNTED
    return len(text) * _S_PER_BYTE + text.count(b",") * _S_PER_COMMA


def read(text: Body, pace: Pace) -> Document:
    """Read the body of a request. Raises `InvalidArgument` if it is not a JSON object."""
    if len(text) >= _PACKED_BODY_BYTES:
        try:
            return Document(_with_packed_numbers(text, pace), text)
        except NotOnFastPath:
            pass
    return Document(read_values(text, pace), None)


def read_values(text: Body, pace: Pace) -> Members:
    """Read a body on the general path: Python values, and `LargeList`s.

    Raises `InvalidArgument` if it is not a JSON object.
    """
    if text.startswith(codecs.BOM_UTF8):  # TensorFlow Serving skips it; Windows writes it
        text = text[len(codecs.BOM_UTF8) :]
    is_large = len(text) >= _SLICED_BODY_BYTES
    value = slices.parse(text, pace) if is_large else syntax.parse(text)
    if type(value) is not dict:
        raise InvalidArgument(f"JSON Value: {excerpt(value)} Is not object")
    return value


def _with_packed_numbers(text: Body, pace: Pace) -> Members:
    rest, arrays = _take_out(text, pace)
    try:
        members = orjson.loads(rest)
    except orjson.JSONDecodeError:
        raise NotOnFastPath from None
    # A mark that is not found again was where no value can be, or under a name used twice.
    if not isinstance(members, dict) or _put_back(members, arrays, 0) != len(arrays):
        raise NotOnFastPath
    return members


def _take_out(text: Body, pace: Pace) -> tuple[bytes, list[Numbers]]:
    """Return `text` with a marked array, `["mark0"]`, for each of the arrays of numbers.

    Raises `NotOnFastPath` if there is none, or if too much is left.
    """
    is_large = len(text) >= _LARGE_BODY_BYTES
    spans = numbers.spans(
        text, _PACKED_ARRAY_IN_LARGE_BODY_BYTES if is_large else _PACKED_ARRAY_BYTES
    )
    left_bytes = len(text) - sum(stop - start for start, stop in spans)
    if not spans or left_bytes >= _LARGE_BODY_BYTES:
        raise NotOnFastPath
    rest: list[bytes] = []
    arrays: list[Numbers] = []
    position = unpaused = 0
    with memoryview(text) as view:
        for number, (start, stop) in enumerate(spans):
            arrays.append(numbers.read_numbers(view[start:stop], pace))
            rest += (bytes(view[position:start]), b'["%s%d"]' % (_MARK.encode(), number))
            unpaused += stop - position
            position = stop
            if unpaused > SLICE_BYTES:
                pace()
                unpaused = 0
        rest.append(bytes(view[position:]))
    return b"".join(rest), arrays


def _put_back(
    place: MutableMapping[str, Any] | MutableSequence[Any], arrays: list[Numbers], depth: int
) -> int:
    """Replace the marks in `place` and below by their arrays. Return how many there were."""
    count = 0
    items: Any = place.items() if isinstance(place, dict) else enumerate(place)
    for key, value in items:
        if type(value) is list and len(value) == 1 and type(value[0]) is str:
            mark, _, number = value[0].partition(_MARK)
            if number and not mark:
                place[key] = arrays[int(number)]  # only values change while this goes on
                count += 1
        elif depth < _MARKED_DEPTH - 1 and isinstance(value, dict | list):
            count += _put_back(value, arrays, depth + 1)
    return count
