"""Protobuf's wire format by hand: tags, and varints by the array.

A varint is a number in groups of seven bits, the lowest first, one group in a byte; the
high bit of every byte but the last is set. Arrays are converted a window at a time, so
that what is computed on the way stays in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

LENGTH_DELIMITED = 2
_VARINT = 0
_FIXED_BYTES = {1: 8, 5: 4}
MAX_VARINT_BYTES = 10

_WINDOW_BYTES = 1 << 15
_WINDOW_VALUES = 1 << 13
_WORD_BYTES = 8

# Of the eight bytes that begin with a varint of n bytes: its groups, without the high bits.
_GROUPS = np.array(
    [0x7F7F_7F7F_7F7F_7F7F & ((1 << 8 * min(n, _WORD_BYTES)) - 1) for n in range(11)], np.uint64
)
# How groups close up, two and two: those that stay, and by how much the others move.
_CLOSE_UP = [
    (np.uint64(0x007F_007F_007F_007F), np.uint64(1)),
    (np.uint64(0x0000_3FFF_0000_3FFF), np.uint64(2)),
    (np.uint64(0x0000_0000_0FFF_FFFF), np.uint64(4)),
]


def tag(kind: type[Message], field: str) -> bytes:
    """Return what stands before the length of a string, a message or a packed field."""
    return varint(kind.DESCRIPTOR.fields_by_name[field].number << 3 | LENGTH_DELIMITED)


def varint(value: int) -> bytes:
    """Return `value`, which is not negative, as a varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def has_more_fields_than(most: int, message: bytes) -> bool:
    """Return whether more than `most` fields, each as often as it occurs, make up a message.

    They are counted as far as they are well formed, without looking at what is in them.
    """
    count = at = 0
    try:
        while at < len(message) and count <= most:
            at = _end_of_field(message, at)
            count += 1
    except (IndexError, ValueError):
        return False  # the parser says what is wrong
    return count > most


def _end_of_field(body: bytes, at: int) -> int:
    wire_type = body[at] & 7
    while body[at] > 0x7F:
        at += 1
    at += 1
    if wire_type in _FIXED_BYTES:
        return at + _FIXED_BYTES[wire_type]
    value = shift = 0
    while body[at] > 0x7F:
        value |= (body[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift >= 7 * MAX_VARINT_BYTES:
            raise ValueError("a varint that does not end")
    value |= body[at] << shift
    if wire_type == LENGTH_DELIMITED:
        return at + 1 + value
    if wire_type == _VARINT:
        return at + 1
    raise ValueError("a group, or no type of field")


def decode_varints(packed: NDArray[np.uint8], values: NDArray[Any]) -> None:
    """Fill the vector `values` with the varints in `packed`, cut to its integer type.

    Raises `ValueError` unless they are just as many, whole, and of 64 bits at most.
    """
    if not len(packed) or packed[-1] > 0x7F:
        raise ValueError("the last varint is cut short")
    position = filled = 0
    while position < len(packed):
        window, used = _decode_window(packed[position : position + _WINDOW_BYTES])
        if filled + len(window) > len(values):
            raise ValueError("there are too many varints")
        values[filled : filled + len(window)] = window
        position += used
        filled += len(window)
    if filled < len(values):
        raise ValueError("there are too few varints")


def _decode_window(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], int]:
    """Return the varints that end in `packed`, and how many bytes they take.

    Eight bytes are taken up from where each varint starts, what belongs to the next one is
    masked away, and the groups of seven bits are closed up. Nine and ten bytes are rare.
    """
    ends = np.flatnonzero(packed < 0x80)
    if not len(ends):
        raise ValueError("a varint has more than 64 bits")
    sizes = np.diff(ends, prepend=-1)
    starts = ends - sizes + 1
    longest = int(sizes.max())
    if longest > MAX_VARINT_BYTES:
        raise ValueError("a varint has more than 64 bits")
    padded = np.zeros(len(packed) + _WORD_BYTES, np.uint8)
    padded[: len(packed)] = packed
    words: NDArray[np.uint64] = np.ndarray(len(packed), "<u8", padded, strides=(1,))[starts]
    words &= _GROUPS[sizes]
    for stays, shift in _CLOSE_UP:
        low = words & stays
        words ^= low
        words >>= shift
        words |= low
    if longest > _WORD_BYTES:
        _add_high_bits(words, padded, starts, sizes)
    return words, int(ends[-1]) + 1


def _add_high_bits(
    words: NDArray[np.uint64], padded: NDArray[np.uint8], starts: NDArray[Any], sizes: NDArray[Any]
) -> None:
    """Add the ninth byte of the varints that have one, and the one bit of a tenth."""
    long = np.flatnonzero(sizes > 8)
    words[long] |= (padded[starts[long] + 8] & 0x7F).astype(np.uint64) << np.uint64(56)
    longest = long[sizes[long] > 9]
    tenth = padded[starts[longest] + 9]
    if len(tenth) and tenth.max() > 1:
        raise ValueError("a varint has more than 64 bits")
    words[longest] |= tenth.astype(np.uint64) << np.uint64(63)


def longest_varint(values: NDArray[np.uint64]) -> int:
    """Return how many bytes the largest of `values` takes as a varint."""
    return max(1, (int(values.max()).bit_length() + 6) // 7)


def encode_varints(values: NDArray[np.uint64]) -> bytes:
    """Return the vector `values` as varints, each as short as can be."""
    return b"".join(
        _encode_window(values[start : start + _WINDOW_VALUES])
        for start in range(0, len(values), _WINDOW_VALUES)
    )


def _encode_window(values: NDArray[np.uint64]) -> bytes:
    """Lay the groups of every value side by side, and keep those up to its highest bit."""
    groups = longest_varint(values)
    encoded = np.empty((len(values), groups), np.uint8)
    wanted = np.ones((len(values), groups), np.bool_)
    rest = values
    for group in range(groups):
        if group:
            rest = rest >> np.uint64(7)
            more = np.not_equal(rest, 0, out=wanted[:, group])
            encoded[:, group - 1] |= more.view(np.uint8) << 7
        encoded[:, group] = rest & np.uint64(0x7F)
    return encoded[wanted].tobytes()
