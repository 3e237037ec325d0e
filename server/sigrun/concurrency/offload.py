"""Does this take long? Decided once, for everybody: work stays where it is, or goes to a thread.

In: work, and what it is expected to cost in seconds, which whoever knows the format estimates.
Out: its result. On the event loop everybody waits for what runs there, so no piece of work may
take more of it than a budget; below that, the way to a thread and back costs more than it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from sigrun.concurrency.pace import Pace, keep_on, let_others_run
from sigrun.concurrency.threads import Threads
from sigrun.telemetry.metrics import Gauge

T = TypeVar("T")

LOOP_BUDGET_S = 200e-6
"""The most that one piece of work may cost on the event loop.

A hand-over to a thread and back costs 50 to 100 us of CPU time, and more of waiting.
"""

# Work of this kind holds the GIL for the most part: more threads help nobody.
_THREADS = 2
_MAX_WAITING = 256


class Offload:
    """Runs work on the event loop or in threads of its own; every door of a process shares one."""

    def __init__(self, budget_s: float = LOOP_BUDGET_S) -> None:
        self._budget_s = budget_s
        self._threads = Threads(name="body", count=_THREADS, max_waiting=_MAX_WAITING)

    async def run(self, work: Callable[[Pace], T], *, cost_s: float, deadline: float | None) -> T:
        """Return what `work` returns, or raise what it raises.

        It is given the pace that is right for where it runs. Raises `Unavailable` when too much
        waits for the threads, `DeadlineExceeded` when the time is up before it is done.
        """
        if cost_s <= self._budget_s:
            return work(keep_on)
        return await self._threads.run(work, let_others_run, deadline=deadline)

    def is_short(self, cost_s: float) -> bool:
        """Return whether `run` would do it at once, for callers that can spare the call."""
        return cost_s <= self._budget_s

    def readings(self) -> Iterable[Gauge]:
        """Return what the threads do, as metrics."""
        return self._threads.readings()

    def close(self) -> None:
        """Refuse what waits and what comes."""
        self._threads.close()
