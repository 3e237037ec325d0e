"""Measure how long the event loop keeps what is due waiting.

In: an event loop. Out: a histogram of seconds. A timer is due ten times a second; what it is late
is what a request would have waited for somebody else's work on the loop. Timers of the loop
count in milliseconds, so that nothing below them is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sigrun.telemetry.metrics import Buckets, Distribution

LAG_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_PERIOD_S = 0.1


class LoopLag:
    """Watches the event loop on which `watch` runs."""

    def __init__(self) -> None:
        self._lags_s = Buckets(LAG_BUCKETS_S)

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_at = loop.time() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            self.record(max(0.0, loop.time() - due_at))

    def record(self, lag_s: float) -> None:
        """Take note of one measurement."""
        self._lags_s.add(lag_s)

    def readings(self) -> Iterable[Distribution]:
        """Return what was measured."""
        yield Distribution(
            name="sigrun_event_loop_lag_seconds",
            help="How late timers of the event loop were",
            value=self._lags_s.histogram,
        )
