"""So many batches run at a time, of all models together; whose turn it is goes round.

In: schedulers that say that something waits, and batches that end. Out: schedulers are told to
start batches, on as many runners as are free.

Runners are looked after one turn of the event loop later, so that requests which arrive together
leave together. Nothing else holds a batch up: a runner that is free takes what is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Scheduler(Protocol):
    """What shares the runners."""

    def start_batches(self, now: float, runners: int) -> int:
        """Start the next batch, divided among up to `runners`; return how many are taken."""

    @property
    def has_waiting(self) -> bool:
        """Whether there is more."""


class BatchRunners:
    """Counts the runners that are free, and keeps the order of the schedulers.

    Used on one event loop. `clock` gives the time in seconds, that of deadlines.
    """

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._idle = count
        self._in_turn: dict[Scheduler, None] = {}
        self._afterwards: list[Callable[[], None]] = []
        self._is_dispatch_due = False

    @property
    def idle(self) -> int:
        """How many runners have nothing to do."""
        return self._idle

    def call(self, scheduler: Scheduler) -> None:
        """Start what waits in `scheduler`, when its turn comes and a runner is free."""
        self._in_turn[scheduler] = None
        if self._idle:
            self._dispatch_soon()

    def take(self) -> bool:
        """Take a runner for a batch that does not wait, if one is free and nobody waits for it."""
        if not self._idle or self._in_turn:
            return False
        self._idle -= 1
        return True

    def release(self) -> None:
        """Take a runner back whose batch has ended."""
        self._idle += 1
        if self._in_turn:
            self._dispatch_soon()

    def after_dispatch(self, call: Callable[[], None]) -> None:
        """Make `call` when what can start has been started: now if nothing can."""
        if self._is_dispatch_due:
            self._afterwards.append(call)
        else:
            call()

    def dispatch(self) -> None:
        """Start what can be started now."""
        self._is_dispatch_due = False
        now = self.clock()
        while self._idle and self._in_turn:
            scheduler = next(iter(self._in_turn))
            del self._in_turn[scheduler]
            spare = max(1, self._idle - len(self._in_turn))
            taken = scheduler.start_batches(now, spare)
            self._idle -= taken
            if taken and scheduler.has_waiting:
                self._in_turn[scheduler] = None
        if self._afterwards:
            calls, self._afterwards = self._afterwards, []
            for call in calls:
                call()

    def _dispatch_soon(self) -> None:
        if not self._is_dispatch_due:
            self._is_dispatch_due = True
            asyncio.get_running_loop().call_soon(self.dispatch)
