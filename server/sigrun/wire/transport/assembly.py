"""Put a body together from the pieces in which it comes, without ever moving what is here.

In: pieces, and the length if the client has said it. Out: the whole.

A body that grows by reallocation is copied again and again by the allocator, up to 32 MB in one
call: 50 ms in which the event loop stands still. Beyond that the kernel moves pages instead. So
room for all of a body is reserved in one step or, where its length is not known, so much that it
is hardly ever copied. Memory that is reserved and not written to costs addresses only, which is why
it is not filled with zeros, as that of `bytearray(n)` is.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

# For a body of unknown length: at first, and once that is full. Then four times what has come.
_FIRST_BYTES: Final = 1024 * 1024
_SECOND_BYTES: Final = 64 * 1024 * 1024
_HUGE_BYTES = 4 * 1024 * 1024  # from here on pages of 2 MB: quicker to get and to give back
_PAGE_BYTES = mmap.PAGESIZE

# CPython's own; it leaves new bytes as they are.
_resize = ctypes.pythonapi.PyByteArray_Resize
_resize.argtypes = (ctypes.py_object, ctypes.c_ssize_t)
_resize.restype = ctypes.c_int


class Assembly:
    """The pieces of one body."""

    __slots__ = ("_first", "_length", "_room", "_size")

    def __init__(self, length: int | None) -> None:
        self._length = length  # None: not known
        self._first: bytes | None = None  # as long as it is the only one
        self._room = bytearray()  # bytes beyond `_size` are not written yet
        self._size = 0

    def __len__(self) -> int:
        """Return how many bytes have come."""
        return self._size

    def add(self, piece: bytes) -> None:
        """Append a piece."""
        if not self._size:
            self._first, self._size = piece, len(piece)
            return
        if self._first is not None:
            first, self._first, self._size = self._first, None, 0
            self._copy(first)
        self._copy(piece)

    def take(self) -> bytes | bytearray:
        """Return all that was added; nothing can be added afterwards."""
        if self._first is not None:
            return self._first
        _resize(self._room, self._size)
        return self._room

    def _copy(self, piece: bytes) -> None:
        size = self._size + len(piece)
        if size > len(self._room):
            self._reserve(size)
        with memoryview(self._room) as room:
            room[self._size : size] = piece
        self._size = size

    def _reserve(self, size: int) -> None:
        length = self._length
        if length is None or length < size:
            self._resize(size, _ahead(size))
        elif self._resize(size, length) and length >= _HUGE_BYTES:
            _advise_huge_pages(self._room)  # here alone: to move such pages takes long

    def _resize(self, size: int, ahead: int) -> bool:
        """Make room ahead, or just for what has come; return whether it is ahead."""
        try:
            _resize(self._room, ahead)
        except MemoryError:  # addresses may be limited too
            _resize(self._room, size)
            return False
        return True


def _ahead(size: int) -> int:
    return _FIRST_BYTES if size <= _FIRST_BYTES else max(_SECOND_BYTES, 4 * size)


def _advise_huge_pages(room: bytearray) -> None:
    """Ask for large pages, as numpy does for its arrays; without them all works as well."""
    if _madvise is None:
        return
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    begin = -(-address // _PAGE_BYTES) * _PAGE_BYTES
    _madvise(begin, address + len(room) - begin, _MADV_HUGEPAGE)


_MADV_HUGEPAGE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux has it
_madvise = None
if _MADV_HUGEPAGE is not None:
    _madvise = ctypes.CDLL(None).madvise
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
