"""A large JSON text -> the values that `syntax.parse` returns, without standing still.

orjson holds the interpreter's lock for as long as it reads, and so do freeing what it made
and collecting garbage among it. So a text is gone through twice. First it is proved right
slice by slice, and of a large array only the places of its slices are kept, as a
`LargeList`. Then, as its elements are asked for, each slice is read again, and is garbage
before the next.

A slice ends before a comma or bracket, and is read with the brackets around it that are open
there. JSON is read from left to right without looking ahead, so what is right up to its end
stands for the same in the whole text, however the end was found. What is wrong is wrong
there, too: a mistake is looked for from its slice on, and its text is orjson's.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from sigrun.concurrency.pace import give_way
from sigrun.errors import InvalidArgument
from sigrun.wire.body import Body
from sigrun.wire.json import syntax
from sigrun.wire.json.lists import LargeList
from sigrun.wire.json.syntax import Doubt

_LARGE_BYTES = 256 * 1024

# What is tried as one slice, before a value is read in slices of its own.
_SLICE_BYTES = (32 * 1024, 256 * 1024)

_MAX_DEPTH = 100  # of large values in one another; to bound the recursion
_LOOKAHEAD_BYTES = 64  # orjson's is less, in numbers, literals and escapes

_SPACE = re.compile(rb"[ \t\r\n]*")
_CLOSING = bytes.maketrans(b"[{", b"]}")
_QUOTE, _COMMA = b'",'
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_IS_STRUCTURE = _STEPS != 0
_IS_STRUCTURE[_COMMA] = True

_Slice = tuple[int, int] | Any  # from where to where, or a large value


def parse(text: Body) -> Any:
    """Return the value of a JSON text. Raises as `syntax.parse` does."""
    if len(text) < _LARGE_BYTES:
        return syntax.parse(text)
    with contextlib.suppress(Doubt):
        try:
            try:
                return _Reader(text, orjson.loads).document()
            except _Mistake:
                if not _may_have_non_finite(text):
                    raise
                return _Reader(text, syntax.parse_with_non_finite).document()
        except _Mistake as mistake:
            raise _error(text, mistake) from None
    return syntax.parse(text)


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in a text, and the brackets that are open there."""

    position: int
    brackets: bytes
    is_first: bool  # in the innermost brackets


class _Mistake(Exception):
    """Raised where a text is not JSON from a place on."""

    def __init__(self, place: _Place) -> None:
        super().__init__()
        self.place = place


class _Reader:
    def __init__(self, text: Body, load: Callable[[bytes], Any]) -> None:
        self._text = text
        self._load = load

    def document(self) -> Any:
        start = self._after_space(0)
        if self._text[start : start + 1] not in (b"[", b"{"):
            raise Doubt
        value, end = self._large_value(start, b"")
        _check_is_text(self._text, end)  # what follows is passed over, but must be that
        return value

    def _large_value(self, start: int, brackets: bytes) -> tuple[Any, int]:
        """Return the array or object that begins at `start`, and where it ends."""
        if len(brackets) >= _MAX_DEPTH:
            raise Doubt
        bracket = bytes(self._text[start : start + 1])
        brackets += bracket
        if bracket == b"{":
            return self._object(_Place(start + 1, brackets, is_first=True))
        slices: list[_Slice] = []
        size = 0
        place = _Place(start + 1, brackets, is_first=True)
        end = b","
        while end == b",":
            kept, number, stop = self._elements(place)
            end = self._end(place, stop, is_empty=not number)
            slices.append(kept)
            size += number
            place = _Place(stop + 1, brackets, is_first=False)
        return LargeList(lambda: self._parts(slices, brackets), size), place.position

    def _object(self, place: _Place) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        end = b","
        while end == b",":
            stop = self._end_of_slice(place.position)
            if stop is None:
                some, stop = self._large_member(place)
            else:
                some = self._read(place, stop)
            end = self._end(place, stop, is_empty=not some)
            members |= some
            place = _Place(stop + 1, place.brackets, is_first=False)
        return members, place.position

    def _end(self, place: _Place, stop: int, *, is_empty: bool) -> bytes:
        """Return the comma or bracket after a slice. Raises `_Mistake` if none may be there."""
        give_way()
        end = bytes(self._text[stop : stop + 1])
        closes = end == place.brackets[-1:].translate(_CLOSING)
        if not (closes or end == b",") or (is_empty and not (closes and place.is_first)):
            raise _Mistake(place)
        return end

    def _parts(self, slices: list[_Slice], brackets: bytes) -> Iterator[list[Any]]:
        for kept in slices:
            if isinstance(kept, tuple):
                start, stop = kept
                yield self._read(_Place(start, brackets, is_first=False), stop)
            else:
                yield [kept]

    def _elements(self, place: _Place) -> tuple[_Slice, int, int]:
        """Return a slice of a list, how many elements it has, and where it ends."""
        stop = self._end_of_slice(place.position)
        if stop is None:
            start = self._after_space(place.position)
            if self._text[start : start + 1] in (b"[", b"{"):
                value, end = self._large_value(start, place.brackets)
                return value, 1, self._after_space(end)
            stop = self._after_space(self._end_of_string(start, place))
        return (place.position, stop), len(self._read(place, stop)), stop

    def _large_member(self, place: _Place) -> tuple[dict[str, Any], int]:
        """Return one member of an object, too large for a slice, and where it ends."""
        key = self._after_space(place.position)
        end_of_key = self._end_of_string(key, place)
        colon = self._after_space(end_of_key)
        if self._text[colon : colon + 1] != b":":
            raise _Mistake(place)
        start = self._after_space(colon + 1)
        if self._text[start : start + 1] not in (b"[", b"{"):
            stop = self._after_space(self._end_of_string(start, place))
            return self._read(place, stop), stop
        (name,) = self._read(dataclasses.replace(place, position=key), end_of_key, b":0")
        value, end = self._large_value(start, place.brackets)
        return {name: value}, self._after_space(end)

    def _end_of_string(self, start: int, place: _Place) -> int:
        if self._text[start : start + 1] != b'"':
            raise _Mistake(place)
        return syntax.end_of_string(self._text, start)

    def _read(self, place: _Place, stop: int, more: bytes = b"") -> Any:
        """Return the elements or members from `place` to `stop`, as a list or dict."""
        opening = _opening(place.brackets)
        closing = place.brackets[::-1].translate(_CLOSING)
        with memoryview(self._text) as view:
            text = b"".join((opening, view[place.position : stop], more, closing))
        try:
            value = self._load(text)
        except (orjson.JSONDecodeError, InvalidArgument):
            raise _Mistake(place) from None
        for bracket in place.brackets[:-1]:
            value = value[0] if bracket == ord("[") else value[""]
        return value

    def _end_of_slice(self, start: int) -> int | None:
        for size in _SLICE_BYTES:
            stop = _last_end(self._text[start : start + size])
            if stop is not None:
                return start + stop
        return None

    def _after_space(self, start: int) -> int:
        space = _SPACE.match(self._text, start)
        return space.end() if space else start


def _opening(brackets: bytes) -> bytes:
    """Return a text in which a value or the first member follows within `brackets`."""
    return brackets[:-1].replace(b"{", b'{"":') + brackets[-1:]


def _last_end(text: Body) -> int | None:
    """Return where the last whole element in `text` ends: at a comma or the closing bracket."""
    if b"\\" in text:
        text = text.replace(rb"\\", b"..").replace(rb"\"", b"..")
    marks = np.frombuffer(text, np.uint8)
    places = np.flatnonzero(_IS_STRUCTURE[marks])
    quotes = np.flatnonzero(marks == _QUOTE)
    places = places[np.searchsorted(quotes, places) % 2 == 0]  # in no string
    found = marks[places]
    depths = np.cumsum(_STEPS[found], dtype=np.int32)
    closing = np.flatnonzero(depths < 0)
    if closing.size:
        return int(places[closing[0]])
    commas = places[(depths == 0) & (found == _COMMA)]
    return int(commas[-1]) if commas.size else None


def _error(text: Body, mistake: _Mistake) -> InvalidArgument:
    """Return what is wrong in `text` after the place of a mistake. Raises `Doubt` if unsure."""
    _check_is_text(text, 0)  # orjson looks at that first
    place = mistake.place
    opening = _opening(place.brackets)
    if not place.is_first:
        opening += b'"":0,' if place.brackets.endswith(b"{") else b"0,"
    size = 2 * max(_SLICE_BYTES)
    while True:
        rest = text[place.position : place.position + size]
        is_all = place.position + size >= len(text)
        rest = rest if is_all else rest.decode(errors="ignore").encode()
        found = syntax.mistake(opening + rest)
        if found is None or found[0].endswith("memory"):  # it is nested too deep
            raise Doubt
        message, offset = found
        if is_all or offset + _LOOKAHEAD_BYTES < len(opening) + len(rest):
            return syntax.parse_error(message, offset - len(opening) + place.position)
        size *= 8


def _may_have_non_finite(text: Body) -> bool:
    size = max(_SLICE_BYTES)
    for start in range(0, len(text), size):
        if any(text.find(word, start, start + size + 2) >= 0 for word in (b"NaN", b"Inf")):
            return True
        give_way()
    return False


def _check_is_text(text: Body, start: int) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for position in range(start, len(text), max(_SLICE_BYTES)):
            decoder.decode(text[position : position + max(_SLICE_BYTES)])
            give_way()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise Doubt from None
