"""A JSON array of numbers, nested or not -> numpy, without a Python object per number.

simdjson turns text into a flat buffer of numbers, whatever the nesting, so the nesting is
proved apart: of the text without its numbers only brackets and commas may be left, and they
must be those of an even array. Each place between two commas then holds at most one number,
and there are as many numbers as places. Slice by slice: a slice ends before a comma, and the
brackets that are open there are closed for the one and opened again for the next.

Whatever else the text is, `NotOnFastPath` is raised: Python values then say what it means.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

import numpy as np
import simdjson

from sigrun.concurrency.pace import SLICE_BYTES, Pace
from sigrun.tensors.signature import MAX_RANK, Array, DType
from sigrun.wire.body import Body
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json import syntax

Shape = tuple[int, ...]

# What stands inside numbers and around them: without it only the structure is left.
_NUMBER_BYTES = b"0123456789+-.eE \t\r\n"
_STRUCTURE_BYTES = b"[,]"
_NO_INTEGER_BYTES = (b".", b"e", b"E")
_NON_FINITE = re.compile(rb"NaN|Inf(?:inity)?")
_BEFORE, _AFTER = b"[, \t\r\n", b"], \t\r\n"
_MINUS = ord("-")
_TAIL_BYTES = 256
_OPEN, _COMMA, _CLOSE = b"[,]"
FLOATS = (DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16)
INTEGERS = (
    DType.INT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.UINT8,
    DType.UINT16,
    DType.UINT32,
    DType.UINT64,
)


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """An even array of numbers, before it is known of what type they are to be.

    The pieces hold its elements in order; one of integers only holds integers.
    """

    shape: Shape
    _pieces: tuple[Array, ...]

    def array(self, dtype: DType, pace: Pace) -> Array:
        """Return the tensor. Raises `NotOnFastPath` for a number that `dtype` does not take."""
        if dtype not in FLOATS and dtype not in INTEGERS:
            raise NotOnFastPath
        flat: Array = np.empty(math.prod(self.shape), dtype.numpy)
        position = 0
        for piece in self._pieces:
            flat[position : position + len(piece)] = _converted(piece, dtype)
            position += len(piece)
            pace()
        return flat.reshape(self.shape)


def read_numbers(text: memoryview, pace: Pace) -> Numbers:
    """Return the numbers of one JSON array. Raises `NotOnFastPath` for anything else."""
    parser = simdjson.Parser()
    pieces: list[Array] = []
    structure: list[bytes] = []
    depth = start = 0
    while start < len(text):
        if start:
            pace()
        part = _slice(text, start)
        start += len(part) + 1  # the comma
        skeleton = _skeleton(part)
        depth_after = depth + skeleton.count(b"[") - skeleton.count(b"]")
        if not (0 <= depth_after <= MAX_RANK):
            raise NotOnFastPath
        pieces.append(_numbers(parser, b"%b%b%b" % (b"[" * depth, part, b"]" * depth_after)))
        structure.append(skeleton)
        depth = depth_after
    shape = _shape(_joined(structure))
    if math.prod(shape) != sum(map(len, pieces)):
        raise NotOnFastPath
    return Numbers(shape, tuple(pieces))


def _slice(text: memoryview, start: int) -> bytes:
    """Return what follows `start`, up to a comma or to the end."""
    stop = start + SLICE_BYTES
    if stop >= len(text):
        return bytes(text[start:])
    for tail_bytes in (_TAIL_BYTES, SLICE_BYTES):  # as a rule a comma is near, and nothing is cut
        tail = stop - tail_bytes
        comma = tail + bytes(text[tail:stop]).rfind(b",")
        if comma > max(start, tail - 1):
            return bytes(text[start:comma])
    raise NotOnFastPath


def _skeleton(part: bytes) -> bytes:
    skeleton = part.translate(None, _NUMBER_BYTES)
    if skeleton.translate(None, _STRUCTURE_BYTES):
        skeleton = _with_zeros(part).translate(None, _NUMBER_BYTES)
        if skeleton.translate(None, _STRUCTURE_BYTES):
            raise NotOnFastPath
    return skeleton


def _with_zeros(text: bytes) -> bytes:
    """Return `text` with zeros for the numbers that JSON does not have."""
    for literal in (b"NaN", b"Infinity", b"Inf"):
        text = text.replace(literal, b"0")
    return text


def _numbers(parser: simdjson.Parser, text: bytes) -> Array:
    """Return the numbers of `text`, an array: float64, or a type of integers if it has no other."""
    if b"N" in text or b"I" in text:
        return _numbers_with_non_finite(parser, text)
    if any(map(text.__contains__, _NO_INTEGER_BYTES)):
        return _buffer(parser, text, "d")
    try:
        return _buffer(parser, text, "i")
    except NotOnFastPath:
        return _buffer(simdjson.Parser(), text, "u")


def _numbers_with_non_finite(parser: simdjson.Parser, text: bytes) -> Array:
    values = _buffer(parser, _with_zeros(text), "d").copy()
    if len(values) != text.count(b",") + 1:
        raise NotOnFastPath
    index = position = 0
    for literal in _NON_FINITE.finditer(text):
        start, end = literal.span()
        is_negative = text[start - 1] == _MINUS
        # It is a number of its own, and no part of another one that is right with a zero.
        if text[start - 1 - is_negative] not in _BEFORE or text[end] not in _AFTER:
            raise NotOnFastPath
        index += text.count(b",", position, start)
        position = start
        infinity = -math.inf if is_negative else math.inf
        values[index] = math.nan if literal[0] == b"NaN" else infinity
    return values


_NUMPY = {"d": np.dtype(np.float64), "i": np.dtype(np.int64), "u": np.dtype(np.uint64)}


def _buffer(parser: simdjson.Parser, text: bytes, kind: str) -> Array:
    try:
        array = parser.parse(text)
        if not isinstance(array, simdjson.Array):
            raise NotOnFastPath
        return np.frombuffer(array.as_buffer(of_type=kind), _NUMPY[kind])  # type: ignore[arg-type]
    except (ValueError, TypeError, RuntimeError, OverflowError, UnicodeError):
        raise NotOnFastPath from None


def _joined(structure: list[bytes]) -> Array:
    """Return all marks, with the commas at which the text was cut."""
    # By parts: to join megabytes would hold the GIL for milliseconds.
    marks = np.empty(sum(len(part) + 1 for part in structure), np.uint8)
    start = 0
    for part in structure:
        end = start + len(part)
        marks[start:end] = np.frombuffer(part, np.uint8)
        marks[end] = _COMMA
        start = end + 1
    return marks[:-1]


def _shape(marks: Array) -> Shape:
    """Return the shape whose brackets and commas are exactly `marks`.

    An even array is `[`, the same element again and again with commas between, `]`; and so
    is its element, down to the numbers, which are not in the text.
    """
    rank = len(marks[: MAX_RANK + 1].tobytes().partition(b",")[0].partition(b"]")[0])
    shape: list[int] = []
    start, stop = 0, len(marks)
    for inner_rank in reversed(range(rank)):
        if stop - start < 2 or marks[start] != _OPEN or marks[stop - 1] != _CLOSE:
            raise NotOnFastPath
        start, stop = start + 1, stop - 1
        size = _element_size(marks[start:stop], inner_rank)
        shape.append(_count(marks[start:stop], size))
        stop = start + size
    if start != stop or not 1 <= rank <= MAX_RANK:
        raise NotOnFastPath
    return tuple(shape)


def _element_size(marks: Array, rank: int) -> int:
    """Return how long the first element is, if it is an even array of this rank."""
    if rank == 0:
        return 0
    end = b"]" * rank
    for start in range(0, len(marks), SLICE_BYTES):
        found = marks[start : start + SLICE_BYTES + rank - 1].tobytes().find(end)
        if found >= 0:
            return start + found + rank
    raise NotOnFastPath


def _count(marks: Array, size: int) -> int:
    """Return how often the first `size` marks stand in `marks`, with commas between."""
    period = size + 1
    if (len(marks) + 1) % period:
        raise NotOnFastPath
    # Each mark is that of one period before, and the first period ends in a comma.
    if len(marks) > size and marks[size] != _COMMA:
        raise NotOnFastPath
    for start in range(0, max(len(marks) - period, 0), SLICE_BYTES):
        part = marks[start : start + SLICE_BYTES + period]
        if not np.array_equal(part[:-period], part[period:]):
            raise NotOnFastPath
    return (len(marks) + 1) // period


def _converted(piece: Array, dtype: DType) -> Array:
    if dtype in FLOATS:
        with np.errstate(over="ignore"):  # beyond the range of float is infinity
            return piece.astype(np.float64, copy=False).astype(dtype.numpy, copy=False)
    limits = np.iinfo(dtype.numpy)
    if piece.dtype.kind == "f" or piece.min() < limits.min or piece.max() > limits.max:
        raise NotOnFastPath
    return piece


def spans(body: Body, smallest: int) -> list[tuple[int, int]]:
    """Return where in `body` there seem to be arrays of numbers of at least so many bytes.

    In no string, and each from a `[` to a `]`. What has more strings than can hold such
    arrays is not searched to its end.
    """
    found: list[tuple[int, int]] = []
    position = 0
    for strings in itertools.count():
        if strings * smallest > position + 16 * smallest:
            return []
        quote = syntax.find(body, b'"', position)
        stop = len(body) if quote < 0 else quote
        if stop - position >= smallest:
            first, end = _span(body, position, stop)
            if end - first >= smallest:
                found.append((first, end))
        if quote < 0:
            return found
        position = syntax.end_of_string(body, quote)
    raise AssertionError  # the count has no end


def _span(body: Body, start: int, stop: int) -> tuple[int, int]:
    first = syntax.find(body, b"[", start, stop)
    if first < 0:
        return start, start
    brace = syntax.find(body, b"}", first, stop)
    return first, syntax.rfind(body, b"]", first, stop if brace < 0 else brace) + 1
