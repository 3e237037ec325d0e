"""Put a body together from the pieces in which it comes, without ever moving what is here.

In: pieces, and the length if the client has said it. Out: the whole.

A body that grows by reallocation is copied again and again by the allocator, up to 32 MB in one
call: 50 ms in which the event loop stands still. Beyond that the kernel moves pages instead. So
room for all of a body is made in one step or, where its length is not known, so much that it is
hardly ever copied. Memory that is reserved and not written to costs addresses only, which is why
it is not filled with zeros: CPython's own functions leave it as it is, `bytearray(n)` does not.
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

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)
_new_bytes.restype = ctypes.py_object
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.argtypes = (ctypes.py_object,)
_address_of.restype = ctypes.c_void_p
_resize = ctypes.pythonapi.PyByteArray_Resize
_resize.argtypes = (ctypes.py_object, ctypes.c_ssize_t)
_resize.restype = ctypes.c_int


class Assembly:
    """The pieces of one body."""

    __slots__ = ("_first", "_length", "_room", "_size")

    def __init__(self, length: int | None) -> None:
        self._length = length  # None: not known, or not to be trusted
        self._first: bytes | None = None  # as long as it is the only piece
        self._room: _Exact | _Growing | None = None
        self._size = 0

    def __len__(self) -> int:
        """Return how many bytes have come."""
        return self._size

    def add(self, piece: bytes) -> None:
        """Append a piece."""
        at, self._size = self._size, self._size + len(piece)
        if not at:
            self._first = piece
            return
        room = self._room
        if room is None or self._size > room.size:
            room = self._room = self._larger_room(at)
        room.write(at, piece)

    def take(self) -> bytes | bytearray:
        """Return all that was added; nothing can be added afterwards."""
        if self._room is None:
            return self._first or b""
        return self._room.take(self._size)

    def _larger_room(self, filled: int) -> _Exact | _Growing:
        """Return room for what has come, with what there is already up to `filled`."""
        room, size, length = self._room, self._size, self._length
        if isinstance(room, _Growing):
            room.grow(size)
            return room
        start = self._first if room is None else room.take(filled)
        self._first = None
        larger: _Exact | _Growing | None = None
        if room is None and length is not None and length >= size:
            larger = _exact(length)
        if larger is None:
            larger = _Growing()
            larger.grow(size)
        larger.write(0, start or b"")
        return larger


class _Exact:
    """Room for so many bytes. They are written before anybody else sees the object."""

    __slots__ = ("_address", "_whole", "size")

    def __init__(self, size: int) -> None:
        self._whole: bytes = _new_bytes(None, size)
        self._address: int = _address_of(self._whole)
        self.size = size
        if size >= _HUGE_BYTES:
            _advise_huge_pages(self._address, size)

    def write(self, at: int, piece: bytes) -> None:
        ctypes.memmove(self._address + at, piece, len(piece))

    def take(self, size: int) -> bytes:
        return self._whole if size == self.size else self._whole[:size]


def _exact(size: int) -> _Exact | None:
    """Return room, or None if there are no addresses for it: they may be limited too."""
    try:
        return _Exact(size)
    except MemoryError:
        return None


class _Growing:
    """Room that grows; bytes beyond what was written are left as they are."""

    __slots__ = ("_room", "size")

    def __init__(self) -> None:
        self._room = bytearray()
        self.size = 0

    def grow(self, size: int) -> None:
        """Make room for so much, and for more to come."""
        ahead = _FIRST_BYTES if size <= _FIRST_BYTES else max(_SECOND_BYTES, 4 * size)
        try:
            _resize(self._room, ahead)
        except MemoryError:
            _resize(self._room, size)
        self.size = len(self._room)

    def write(self, at: int, piece: bytes) -> None:
        with memoryview(self._room) as room:
            room[at : at + len(piece)] = piece

    def take(self, size: int) -> bytearray:
        _resize(self._room, size)
        return self._room


def _advise_huge_pages(address: int, size: int) -> None:
    """Ask for large pages, as numpy does for its arrays; without them all works as well."""
    if _madvise is not None:
        begin = -(-address // _PAGE_BYTES) * _PAGE_BYTES
        _madvise(begin, address + size - begin, _MADV_HUGEPAGE)


_MADV_HUGEPAGE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux has it
_madvise = None
if _MADV_HUGEPAGE is not None:
    _madvise = ctypes.CDLL(None).madvise
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
