"""Arrays of a JSON text: Python lists, or too large to be Python values all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from sigrun.concurrency.pace import Pace


class LargeList:
    """An array of a JSON text whose elements are read again each time they are asked for."""

    def __init__(self, read: Callable[[], Iterator[list[Any]]], size: int) -> None:
        self._read = read
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        for part in self._read():
            yield from part

    def parts(self, pace: Pace) -> Iterator[list[Any]]:
        """Yield the elements, some at a time."""
        for part in self._read():
            yield part
            pace()


def is_list(value: Any) -> TypeGuard[list[Any] | LargeList]:
    """Return whether `value` is a JSON array."""
    return isinstance(value, list | LargeList)


def parts(value: list[Any] | LargeList, pace: Pace) -> Iterator[list[Any]]:
    """Yield the elements of an array, some at a time; those of a Python list all at once."""
    return value.parts(pace) if isinstance(value, LargeList) else iter((value,))
