"""Threads for loads and unloads: so many loads at a time, and none that holds up the others.

In: blocking calls, from one event loop. Out: what they return or raise. A load that takes
long gives its place to the next one and goes on beside it, so that one which never ends
delays the others once. Unloads never wait: they are what gives memory back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TypeVar, TypeVarTuple

from sigrun.concurrency.daemons import DaemonThreads
from sigrun.telemetry.metrics import Gauge

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LONG_S = 10.0
_MAX_LONG = 16


class LoadThreads:
    """Runs loads in daemon threads, `count` at a time, and unloads beside them.

    A load that has taken `long_s` is no longer counted, unless `max_long` such loads run
    already: then their places are kept, since what all of them read must fit in memory.
    """

    def __init__(self, count: int, *, long_s: float = _LONG_S, max_long: int = _MAX_LONG) -> None:
        self._count = count
        self._long_s = long_s
        self._max_long = max_long
        self._threads = DaemonThreads("load")
        self._places = asyncio.Semaphore(count)
        self._running = 0
        self._waiting = 0
        self._long = 0

    def readings(self) -> Iterable[Gauge]:
        """Return how many loads run and wait as metrics."""
        labels = {"threads": "load"}
        for name, help, value in (
            ("sigrun_threads", "Threads of this kind", self._count),
            ("sigrun_threads_running", "Work that runs in a thread", self._running),
            ("sigrun_threads_waiting", "Work that waits for a thread", self._waiting),
        ):
            yield Gauge(name=name, help=help, value=value, labels=labels)

    async def load(self, call: Callable[[*Ts], T], *arguments: *Ts, what: str) -> T:
        """Return what `call(*arguments)` returns, in a thread when there is a place.

        `what` names it in the log. The call goes on when the caller is cancelled, and its
        result is dropped.
        """
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        work = asyncio.create_task(self._threads.run(call, *arguments), name="load")
        try:
            try:
                await self._hold_place(work, what)
            finally:
                self._places.release()
            return await self._beside_others(work)
        finally:
            self._running -= 1
            work.cancel()  # if the caller was; else it is done

    async def unload(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Return what `call(*arguments)` returns, in a thread, at once."""
        return await self._threads.run(call, *arguments)

    def close(self) -> None:
        """Let the threads end, as soon as they have nothing to do."""
        self._threads.close()

    async def _hold_place(self, work: asyncio.Task[T], what: str) -> None:
        await asyncio.wait([work], timeout=self._long_s)
        if work.done():
            return
        if self._long < self._max_long:
            logger.info("loading %s takes long: others no longer wait for it", what)
            return
        logger.warning(
            "loading %s takes long, as %d others do: the next ones wait", what, self._long
        )
        await asyncio.wait([work])

    async def _beside_others(self, work: asyncio.Task[T]) -> T:
        self._long += 1
        try:
            return await work
        finally:
            self._long -= 1
