"""Runners: how many batches run at a time, of all models together, and who is next.

In: schedulers that say that something waits, and batches that end. Out: schedulers are told to
start batches, on as many runners as `fairness` grants them.

Runners that are free are handed out one turn of the event loop after something came, or a few if
it keeps coming (see `gathering`), so that requests which arrive together leave together. Nothing
else holds a batch up: a runner that becomes free takes what is there.
"""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from sigrun.batching.fairness import Claim, Neighbours, Pace, choose, runners_for
from sigrun.batching.gathering import Gathering

_QUICK_S = 0.020  # a run that another model can wait for
_STUCK_S = 0.250  # that a run goes on and no other one begins: a quick model counts as slow then
_ACTIVE_S = 10.0  # after its last request, for which others leave a model a runner


class ModelShare:
    """The runners that one model has, whatever its versions and signatures."""

    __slots__ = ("__weakref__", "asked_at", "running", "started_at")

    def __init__(self) -> None:
        self.running = 0
        self.asked_at = float("-inf")  # when the last request came
        self.started_at = 0.0  # when the last run began


class Scheduler(Protocol):
    """What shares the runners."""

    @property
    def share(self) -> ModelShare:
        """The runners of its model."""

    @property
    def mean_run_s(self) -> float | None:
        """How long its runs take; None while that is unknown."""

    @property
    def has_waiting(self) -> bool:
        """Whether there is more to start."""

    def start_batches(self, now: float, runners: int) -> int:
        """Start the next batch, divided among up to `runners`; return how many are taken."""


class BatchRunners:
    """Counts the runners that are free, and keeps the order of the schedulers.

    Used on one event loop. `clock` gives the time in seconds, that of deadlines. A request
    without a deadline may wait `longest_wait_s` for a runner.
    """

    def __init__(
        self,
        count: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        longest_wait_s: float = math.inf,
    ) -> None:
        self.count = count
        self.longest_wait_s = longest_wait_s
        self.clock = clock
        self._idle = count
        self._shares: weakref.WeakValueDictionary[str, ModelShare] = weakref.WeakValueDictionary()
        self._in_turn: dict[Scheduler, None] = {}
        self._afterwards: list[Callable[[], None]] = []
        self._is_dispatch_due = False
        self._gathering = Gathering()

    def share(self, model: str) -> ModelShare:
        """Return the share of a model, the same one for all who ask while one of them keeps it."""
        return self._shares.setdefault(model, ModelShare())

    def call(self, scheduler: Scheduler) -> None:
        """Start what waits in `scheduler`, when its turn comes and a runner is free."""
        self._in_turn[scheduler] = None
        if self._idle:
            if not self._is_dispatch_due:
                self._is_dispatch_due = True
                self._gathering.begin(self.clock())
                asyncio.get_running_loop().call_soon(self._dispatch_when_complete)
            self._gathering.arrived()

    def take(self, scheduler: Scheduler, now: float) -> bool:
        """Take a runner for a request that does not wait, if one is free and nobody waits."""
        if not self._idle or self._in_turn:
            return False
        if self._idle == 1 and not runners_for(self._claim(scheduler, now), 1):
            return False
        share = scheduler.share
        share.running += 1
        share.started_at = now
        self._idle -= 1
        return True

    def release(self, share: ModelShare) -> None:
        """Take a runner back whose run has ended."""
        self._idle += 1
        share.running -= 1
        if self._in_turn and not self._is_dispatch_due:
            self._is_dispatch_due = True
            asyncio.get_running_loop().call_soon(self.dispatch)

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
            schedulers = list(self._in_turn)
            chosen = choose([self._claim(scheduler, now) for scheduler in schedulers], self._idle)
            if chosen is None:
                break
            index, runners = chosen
            scheduler = schedulers[index]
            del self._in_turn[scheduler]
            taken = scheduler.start_batches(now, runners)
            if not taken:
                continue
            share = scheduler.share
            share.running += taken
            share.started_at = now
            self._idle -= taken
            if scheduler.has_waiting:
                self._in_turn[scheduler] = None
        calls, self._afterwards = self._afterwards, []
        for call in calls:
            call()

    def _dispatch_when_complete(self) -> None:
        if self._gathering.is_complete(self.clock()):
            self.dispatch()
        else:
            asyncio.get_running_loop().call_soon(self._dispatch_when_complete)

    def _claim(self, scheduler: Scheduler, now: float) -> Claim:
        share = scheduler.share
        pace = _pace(share, scheduler.mean_run_s, now)
        # Looking at every other model is worth it only where it matters.
        neighbours = Neighbours.NONE if pace is Pace.QUICK else self._neighbours(share, now)
        return Claim(share.running, pace, neighbours)

    def _neighbours(self, share: ModelShare, now: float) -> Neighbours:
        others = [one for one in self._shares.values() if one is not share and not one.running]
        if any(now - other.asked_at < _ACTIVE_S for other in others):
            return Neighbours.ACTIVE
        return Neighbours.LOADED if others else Neighbours.NONE


def _pace(share: ModelShare, mean_run_s: float | None, now: float) -> Pace:
    if mean_run_s is None:
        return Pace.UNKNOWN
    is_stuck = share.running > 0 and now - share.started_at > _STUCK_S
    return Pace.SLOW if mean_run_s > _QUICK_S or is_stuck else Pace.QUICK
