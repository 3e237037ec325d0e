"""Which worker has been told what, and has done it: pure bookkeeping.

In: entries by name as they change, and what workers confirm. Out: what to tell each worker next,
and up to which change all of them have come.

Changes are numbered. A worker is told all it has not been told yet as one step, and nothing more
before it has confirmed: what changes meanwhile is gathered, so that nothing piles up.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)
E = TypeVar("E")


@dataclass(slots=True)
class _Progress:
    told: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Step(Generic[E]):
    """What one worker is to do next; with it done it has come to change `number`."""

    number: int
    entries: Mapping[str, E]


class Rollout(Generic[W, E]):
    """The progress of each worker. Those that have not joined are told, and not waited for."""

    def __init__(self) -> None:
        self._number = 0
        self._entries: dict[str, tuple[int, E]] = {}
        self._progress: dict[W, _Progress] = {}
        self._joined: set[W] = set()

    @property
    def number(self) -> int:
        """The number of the last change."""
        return self._number

    @property
    def done(self) -> int:
        """The last change that every worker that has joined has made."""
        return min((self._progress[worker].done for worker in self._joined), default=self._number)

    def set(self, name: str, entry: E) -> bool:
        """Note what is the case for `name`; return whether that is a change."""
        known = self._entries.get(name)
        if known is not None and known[1] == entry:
            return False
        self._number += 1
        self._entries[name] = (self._number, entry)
        return True

    def add(self, worker: W) -> None:
        """Tell a worker everything from now on."""
        self._progress[worker] = _Progress()

    def join(self, worker: W) -> None:
        """Wait for a worker, too, from now on."""
        self._joined.add(worker)

    def remove(self, worker: W) -> None:
        """Forget a worker that has ended."""
        self._joined.discard(worker)
        self._progress.pop(worker, None)

    def next_step(self, worker: W) -> Step[E] | None:
        """Return what a worker is to be told now; None: nothing, or it has not confirmed yet."""
        progress = self._progress.get(worker)
        if progress is None or progress.told != progress.done or progress.done == self._number:
            return None
        new = {n: entry for n, (number, entry) in self._entries.items() if number > progress.done}
        progress.told = self._number
        return Step(self._number, new)

    def confirm(self, worker: W, step: Step[E]) -> None:
        """Note that a worker has made a step."""
        if (progress := self._progress.get(worker)) is not None:
            progress.done = step.number
