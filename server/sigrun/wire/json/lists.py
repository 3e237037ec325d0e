"""Arrays of a JSON text: Python lists, or too large to be values all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from sigrun.concurrency.pace import give_way


class LargeList:
    """A list of a JSON text whose elements are read each time they are asked for."""

    def __init__(self, parts: Callable[[], Iterator[list[Any]]], size: int) -> None:
        self._parts = parts
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        for part in self.parts():
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError

    def __iter__(self) -> Iterator[Any]:
        for part in self.parts():
            yield from part

    def parts(self) -> Iterator[list[Any]]:
        """Yield the elements, some at a time, and give way between."""
        for part in self._parts():
            yield part
            give_way()


def is_list(value: Any) -> TypeGuard[list[Any] | LargeList]:
    """Return whether `value` is a JSON array."""
    return isinstance(value, list | LargeList)


def parts(value: list[Any] | LargeList) -> Iterator[list[Any]]:
    """Yield the elements of an array, some at a time."""
    return value.parts() if isinstance(value, LargeList) else iter((value,))
