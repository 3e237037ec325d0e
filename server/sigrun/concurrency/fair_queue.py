"""Decide whose job begins next when several owners share a number of places.

In: jobs, each of an owner's share, and the time. Out: the job that may begin now, if one may,
or why a job is not even taken. Nothing here reads a clock, locks, or starts a thread;
`threads` does all three.

A free place goes to the owner with the fewest jobs running, and among equals to the one whose
last turn is longest ago. When every place is taken, an owner of whom nothing runs gets a spare
one: nobody, however slow or stuck, takes the last place from the others.

A spare place is a thread more than there are CPUs. So that others need none, an owner whose runs
are long does not take the last place beside one that it has, while another owner who was active
of late has none: with all CPUs at work on its runs, everything else would wait for the scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, TypeVar

from sigrun.errors import Unavailable

T = TypeVar("T")

_MEAN_OF = 8  # runs, of which later ones count for more
_LONG_S = 0.020  # a run for which another owner should not have to wait
_ACTIVE_S = 10.0  # after its last job, for which others leave an owner a place


class Share(Generic[T]):
    """What one owner has in a `FairQueue`: jobs that wait, and how many run."""

    __slots__ = ("asked_at", "max_waiting", "mean_s", "name", "running", "waiting", "written_off")

    def __init__(self, name: str, max_waiting: int) -> None:
        self.name = name
        self.max_waiting = max_waiting
        self.asked_at = -math.inf  # when the last job came
        self.waiting: dict[T, float] = {}  # when each came, in that order
        self.running = 0
        self.written_off = 0
        self.mean_s = 0.0  # of a run; 0 until one has ended

    def has_taken(self, run_s: float) -> None:
        """Take note of how long a run took."""
        weight = 1 / _MEAN_OF if self.mean_s else 1.0
        self.mean_s += weight * (run_s - self.mean_s)


class FairQueue(Generic[T]):
    """The jobs of all shares. Not thread-safe: its user holds a lock.

    `patience_s` is how long an owner waits for a place before it gets a spare one.
    """

    def __init__(self, *, places: int, spare_places: int, patience_s: float) -> None:
        self._places = places
        self._most = places + spare_places
        self._patience_s = patience_s
        self._waiting: dict[
            Share[T], None
        ] = {}  # those with jobs, the longest without a turn first
        self._active: dict[Share[T], None] = {}  # the longest without a new job first
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many jobs wait, of all owners."""
        return sum(len(share.waiting) for share in self._waiting)

    def add(
        self,
        share: Share[T],
        job: T,
        now: float,
        deadline: float | None,
        *,
        longest_wait_s: float = math.inf,
    ) -> None:
        """Let `job` wait for a place.

        Raises `Unavailable` if its owner's queue is full, or so long that the job could not
        begin before `deadline` or, without one, within `longest_wait_s`.
        """
        self._note_activity(share, now)
        ahead, wait_s = len(share.waiting), self._wait_s(share)
        if share.running + ahead >= self._places + share.max_waiting:
            raise Unavailable(
                f"The queue of {share.name} is full: {ahead} wait for {self._places} threads, "
                f"and no more than {share.max_waiting} may"
            )
        limit_s = longest_wait_s if deadline is None else deadline - now
        if ahead and wait_s > limit_s:
            limit = f"the deadline is in {limit_s:.3g} s"
            raise Unavailable(
                f"The queue of {share.name} is too long: {ahead} wait, which takes {wait_s:.3g} s, "
                f"and {no_longer_than(limit_s) if deadline is None else limit}"
            )
        share.waiting[job] = now
        self._waiting.setdefault(share)

    def remove(self, share: Share[T], job: T) -> bool:
        """Let `job` leave; return whether it waited."""
        waited = share.waiting.pop(job, None) is not None
        if waited and not share.waiting:
            del self._waiting[share]
        return waited

    def take(self, now: float) -> T | None:
        """Return the job that begins now, and count it as running; None if none may."""
        share = self._next(now)
        if share is None:
            return None
        job = next(iter(share.waiting))
        del share.waiting[job], self._waiting[share]
        if share.waiting:
            self._waiting[share] = None  # behind the others
        share.running += 1
        self.running += 1
        return job

    def end(self, share: Share[T], run_s: float | None) -> None:
        """Give the place of a job back that ended after `run_s`; None if it was not made."""
        if run_s is not None:
            share.has_taken(run_s)
        share.running -= 1
        self.running -= 1

    def write_off(self, share: Share[T]) -> None:
        """Give the place of a job back that may never end."""
        share.running -= 1
        share.written_off += 1
        self.running -= 1

    def clear(self) -> list[T]:
        """Let every job leave, and return them."""
        jobs = [job for share in self._waiting for job in share.waiting]
        for share in self._waiting:
            share.waiting.clear()
        self._waiting.clear()
        return jobs

    def _next(self, now: float) -> Share[T] | None:
        if self.running < self._places:
            share = min(self._waiting, key=_running, default=None)
            return None if share is None or self._leaves_a_place(share, now) else share
        return next(self._entitled(now), None) if self.running < self._most else None

    def _leaves_a_place(self, share: Share[T], now: float) -> bool:
        """Return whether the last free place is left to others, who may come any moment."""
        if self.running < self._places - 1 or not share.running or share.mean_s <= _LONG_S:
            return False
        since = now - _ACTIVE_S
        return any(not other.running and other.asked_at >= since for other in self._active)

    def _note_activity(self, share: Share[T], now: float) -> None:
        share.asked_at = now
        self._active.pop(share, None)
        self._active[share] = None
        while (oldest := next(iter(self._active))).asked_at < now - _ACTIVE_S:
            del self._active[oldest]

    def _entitled(self, now: float) -> Iterator[Share[T]]:
        """Yield owners of whom nothing runs although they have waited long enough."""
        for share in self._waiting:
            if not share.running:
                came_at = next(iter(share.waiting.values()))
                if now - came_at >= self._patience_s:
                    yield share

    def _wait_s(self, share: Share[T]) -> float:
        """Return how long it takes until all that waits in `share` has begun, at least."""
        places = max(1, self._places // max(1, len(self._waiting)))
        return len(share.waiting) * share.mean_s / places


def no_longer_than(longest_wait_s: float) -> str:
    """Return how long a call without a deadline may wait, for the text of a refusal."""
    return (
        f"no call without a deadline waits for longer than {longest_wait_s:g} s "
        "(--max_queue_seconds)"
    )


def _running(share: Share[T]) -> int:
    return share.running
