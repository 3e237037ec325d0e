"""A large JSON text -> the values that `syntax.parse` returns, without holding the GIL for long.

The longest standstill of the event loop for a body of 50 MB, with slices and if orjson reads
the text at once, measured by `python -m benchmarks.json_costs`:

    strings of 32 characters        17 ms       0.3 s
    strings of 2 characters        130 ms       1.2 s   (most of it for the array itself)
    objects of 3 members            20 ms       4.6 s
    base64, 20 KB each              10 ms       0.1 s

Theory of operation. A slice is a run of whole elements of an array, or of whole members of
an object. It ends before a comma or the closing bracket and has some 32 KB. With brackets
around it, it is a JSON text of its own, which orjson reads in a fraction of a millisecond:

    {"instances": ["a", "b", "c", "d"]}     is read as     ["a", "b"]   ["c", "d"]

- orjson reads from left to right. What it accepts up to the end of a slice means the same
  in the whole text. So it does not matter how that end was found: counting quotes and
  brackets is enough, and where that goes wrong the text is wrong.
- An item too large for a slice is an array or object, read in slices of its own, or a
  string, which orjson reads at once (a gigabyte per second).
- Of an array only the places of its slices are kept, as a `LargeList`. They are read again
  when the elements are asked for, and the values of one slice are freed before the next is
  read. To keep all would take ten times the memory of the text; and freeing millions of
  objects, or collecting garbage among them, holds the GIL as long as reading them does.
- A mistake lies in the slice that orjson refuses, or behind it if the slice only ends too
  early. So it is looked for from the start of that slice on, in a window that grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from sigrun.concurrency.pace import Pace
from sigrun.errors import InvalidArgument
from sigrun.wire.body import Body
from sigrun.wire.json import syntax
from sigrun.wire.json.lists import LargeList

# The end of a slice is looked for in the first window, then in the second. An element for
# which both are too small is read on its own.
_WINDOWS = (32 * 1024, 256 * 1024)

_MAX_DEPTH = 100  # of large values in one another; they are read by recursion
_MAX_MEMBERS = 64 * 1024  # of a large object; they are Python values all at once

_LOOKAHEAD_BYTES = 64  # orjson notices a mistake sooner: in numbers, literals and escapes
_MISTAKE_WINDOWS = (512 * 1024, 4 * 1024 * 1024)

_CLOSING = {b"[": b"]", b"{": b"}"}
_ONE_MORE = {b"[": b"[0,", b"{": b'{"":0,'}
_SPACE = re.compile(rb"[ \t\r\n]*")
_END = re.compile(rb"[,\]}]")

_QUOTE, _COMMA = b'",'
_STEPS = np.zeros(256, np.int8)  # what a byte adds to the depth of nesting
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_IS_STRUCTURE = _STEPS != 0
_IS_STRUCTURE[_COMMA] = True

_Span = tuple[int, int]


def parse(text: Body, pace: Pace) -> Any:
    """Return the value of a JSON text, with `LargeList`s for its large arrays.

    Raises `InvalidArgument` if it is not JSON, or too deep or too wide.
    """
    reader = _Reader(text, pace)
    return reader.value(0) if reader.is_at_bracket() else syntax.parse(text)


class _Reader:
    """A cursor in a text that only moves forward."""

    def __init__(self, text: Body, pace: Pace) -> None:
        self._text = text
        self._pace = pace
        self._position = 0

    def is_at_bracket(self) -> bool:
        """Skip white space, and return whether an array or object begins there."""
        self._skip_space()
        return self._byte() in _CLOSING

    def value(self, depth: int) -> LargeList | dict[str, Any]:
        """Read the array or object whose bracket the cursor is at; leave the cursor behind it."""
        if depth > _MAX_DEPTH:
            raise InvalidArgument("JSON Parse error: The document is nested too deep")
        opening = self._byte()
        self._position += 1
        return self._array(depth) if opening == b"[" else self._object(depth)

    def _array(self, depth: int) -> LargeList:
        kept: list[_Span | list[Any]] = []
        size = 0
        for elements, span in self._items(b"[", depth):
            kept.append(span or elements)
            size += len(elements)
        return LargeList(lambda: self._read_again(kept), size)

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for some, _ in self._items(b"{", depth):
            members |= some
            if len(members) > _MAX_MEMBERS:
                raise InvalidArgument(f"An object has more than {_MAX_MEMBERS} members")
        return members

    def _items(self, opening: bytes, depth: int) -> Iterator[tuple[Any, _Span | None]]:
        """Yield elements as lists, or members as dicts, some at a time, to the closing bracket.

        With each comes the slice they were read from, or None for one large array or object.
        The cursor is behind what was yielded.
        """
        is_first, closes = True, False
        while not closes:
            start = self._position
            try:
                some, span = self._some(opening, depth)
                closes = self._closes(opening, may_be_empty=is_first, is_empty=not some)
            except ValueError:  # orjson's, too
                raise self._mistake(opening if is_first else _ONE_MORE[opening], start) from None
            self._pace()
            yield some, span
            is_first = False

    def _some(self, opening: bytes, depth: int) -> tuple[Any, _Span | None]:
        """Read one slice, or one item that is too large for it. Raises `ValueError`."""
        start = self._position
        end = _end_of_slice(self._text, start)
        if end is None:
            name = self._name() if opening == b"{" else ""
            if self.is_at_bracket():
                value = self.value(depth + 1)
                self._skip_space()
                return [value] if opening == b"[" else {name: value}, None
            if self._byte() == b'"':
                self._skip_string()
            found = _END.search(self._text, self._position)
            end = found.start() if found else len(self._text)
        self._position = end
        return self._load(start, end, opening), (start, end)

    def _name(self) -> str:
        """Read the name of a member and the colon. Raises `ValueError`."""
        start = self._position
        self._skip_space()
        self._skip_string()
        name: str = orjson.loads(self._text[start : self._position])
        self._skip_space()
        if self._byte() != b":":
            raise ValueError
        self._position += 1
        return name

    def _closes(self, opening: bytes, *, may_be_empty: bool, is_empty: bool) -> bool:
        """Skip the comma or bracket behind a slice; return whether it is the closing bracket.

        Raises `ValueError` if it is neither, or if one more item must follow.
        """
        byte = self._byte()
        closes = byte == _CLOSING[opening]
        if not (closes or byte == b",") or (is_empty and not (closes and may_be_empty)):
            raise ValueError
        self._position += 1
        return closes

    def _read_again(self, kept: list[_Span | list[Any]]) -> Iterator[list[Any]]:
        for span in kept:
            yield span if isinstance(span, list) else self._load(*span, b"[")

    def _load(self, start: int, end: int, opening: bytes) -> Any:
        with memoryview(self._text) as view:
            text = b"".join((opening, view[start:end], _CLOSING[opening]))
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            if b"NaN" not in text and b"Inf" not in text:
                raise
        try:
            return syntax.parse_with_non_finite(text)
        except InvalidArgument:
            raise ValueError from None

    def _byte(self) -> bytes:
        return bytes(self._text[self._position : self._position + 1])

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._position)
        self._position = space.end() if space else self._position

    def _skip_string(self) -> None:
        if self._byte() != b'"':
            raise ValueError
        self._position = syntax.end_of_string(self._text, self._position)

    def _mistake(self, before: bytes, start: int) -> InvalidArgument:
        """Return the refusal of a text with a mistake behind `start`, where it may be `before`."""
        for size in _MISTAKE_WINDOWS:
            window = before + self._text[start : start + size]
            message, offset = syntax.mistake(window) or ("unexpected value", len(before))
            is_all = start + size >= len(self._text)
            if is_all or offset + _LOOKAHEAD_BYTES < len(window):
                return syntax.parse_error(message, offset - len(before) + start)
        return syntax.parse_error("a value that begins here has no end or a mistake", start)


def _end_of_slice(text: Body, start: int) -> int | None:
    """Return where the largest slice from `start` on ends, or None if no item fits in one."""
    for size in _WINDOWS:
        end = _last_end(text[start : start + size])
        if end is not None:
            return start + end
    return None


def _last_end(window: Body) -> int | None:
    """Return where the last whole item in `window` ends: at a comma or the closing bracket."""
    if b"\\" in window:  # escaped quotes end no string
        window = window.replace(rb"\\", b"..").replace(rb"\"", b"..")
    bytes_ = np.frombuffer(window, np.uint8)
    places = np.flatnonzero(_IS_STRUCTURE[bytes_])
    quotes = np.flatnonzero(bytes_ == _QUOTE)
    # Behind an odd number of quotes is the inside of a string.
    places = places[np.searchsorted(quotes, places) % 2 == 0]
    found = bytes_[places]
    depths = np.cumsum(_STEPS[found], dtype=np.int32)
    closing = np.flatnonzero(depths < 0)
    if closing.size:
        return int(places[closing[0]])
    commas = places[(depths == 0) & (found == _COMMA)]
    return int(commas[-1]) if commas.size else None
