"""Let requests that arrive at about the same time in together.

In: a request at a time, which is how gRPC hands them to an event loop, however many there are.
Out: the same ones, in groups. What is done for a group at once (runs of a model, wake-ups,
writes to the sockets) costs each of its members a part: under load a server does half as much
again, and batching finds requests to put together.

Theory of operation. A group closes when the event loop has nothing else to do: then nobody else
is about to arrive. There is no hook for that, so a call is made on every turn of the loop: a turn
that took long did something, a short one did not, and a few short ones in a row without an arrival
are a lull. While the loop is busy a group waits, but not for more than a moment without arrivals,
nor for longer than a few milliseconds in all.

Who is alone must not wait for company that never comes, see `CompanionEstimate`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sigrun.batching.companions import CompanionEstimate

_LULL_S = 60e-6  # of nothing to do
_SHORT_TURN_S = 15e-6  # a turn of the event loop that did nothing takes a few microseconds
_ARRIVAL_S = 500e-6  # without an arrival, however busy the loop is
_LONGEST_S = 5e-3
_MAX_REQUESTS = 256  # of a group


class Arrivals:
    """Groups requests. Used on one event loop. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._group: list[asyncio.Future[None]] = []
        self._lull = Lull()
        self._company = CompanionEstimate()

    async def together(self) -> bool:
        """Return when all who arrive now have arrived; tell whether there was anybody else.

        To be awaited by each request before its work. Those of a group go on in one turn of the
        event loop, in the order in which they came.
        """
        if not self._group and not self._company.expects_any():
            return False
        loop = asyncio.get_running_loop()
        now = self._clock()
        if not self._group:
            self._lull.begin(now)
            loop.call_soon(self._turn)
        self._lull.arrival(now)
        turn = loop.create_future()
        group = self._group
        group.append(turn)
        await turn
        return len(group) > 1

    def _turn(self) -> None:
        is_full = len(self._group) >= _MAX_REQUESTS
        if not self._lull.is_over_at(self._clock()) and not is_full:
            asyncio.get_running_loop().call_soon(self._turn)
            return
        group, self._group = self._group, []
        self._company.observed(len(group))
        for turn in group:
            if not turn.done():  # else its caller has gone
                turn.set_result(None)


class Lull:
    """Tells when a group closes. Every time is in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._began_at = self._arrival_at = self._turn_at = self._idle_since = 0.0

    def begin(self, now: float) -> None:
        """Take note that the first of a group has arrived."""
        self._began_at = self._turn_at = now

    def arrival(self, now: float) -> None:
        """Take note that somebody has arrived, the first one too."""
        self._arrival_at = self._idle_since = now

    def is_over_at(self, now: float) -> bool:
        """Take note of a turn of the event loop; return whether the group closes."""
        if now - self._turn_at > _SHORT_TURN_S:
            self._idle_since = now
        self._turn_at = now
        return (
            now - self._idle_since >= _LULL_S
            or now - self._arrival_at >= _ARRIVAL_S
            or now - self._began_at >= _LONGEST_S
        )
