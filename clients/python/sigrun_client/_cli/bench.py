"""Send the same request over and over, so many at a time, and measure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sigrun_client._errors import ServerError

Ask = Callable[[], Awaitable[object]]
Report = Callable[[float, int], None]
"""Is told the part that is done, 0 to 1, and the number of answers."""

_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
_REPORT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is asked: until `duration_s` have gone or `requests` were made."""

    concurrency: int
    duration_s: float
    requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of it: times of the answers in seconds, errors by code.

    `is_cut` says that it was cancelled before the load was done.
    """

    concurrency: int
    seconds: float
    times_s: tuple[float, ...]
    errors: Mapping[str, int]
    is_cut: bool = False

    @property
    def requests(self) -> int:
        """How many were answered."""
        return len(self.times_s)

    def latencies(self) -> dict[str, float]:
        """Return mean and percentiles in seconds; empty without answers."""
        if not self.times_s:
            return {}
        found = np.percentile(self.times_s, list(_PERCENTILES.values()))
        percentiles = dict(zip(_PERCENTILES, map(float, found), strict=True))
        return {"mean": float(np.mean(self.times_s)), **percentiles}


async def run(ask: Ask, load: Load, report: Report) -> Measured:
    """Ask until the load is done, or until this is cancelled, which the result then says.

    The first request, unmeasured, raises what it meets.
    """
    await ask()
    times_s: list[float] = []
    errors: Counter[str] = Counter()
    begin = time.perf_counter()
    ends_at = begin + load.duration_s
    turns = iter(range(load.requests)) if load.requests else iter(int, 1)

    async def worker() -> None:
        for _ in turns:
            sent = time.perf_counter()
            if sent >= ends_at:
                return
            try:
                await ask()
            except ServerError as error:
                errors[error.code] += 1
            else:
                times_s.append(time.perf_counter() - sent)

    async def reporter() -> None:
        while True:
            done = len(times_s) + errors.total()
            part = (time.perf_counter() - begin) / load.duration_s
            report(max(part, done / load.requests if load.requests else 0.0), done)
            await asyncio.sleep(_REPORT_S)

    watching = asyncio.create_task(reporter(), name="report")
    is_cut = False
    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(load.concurrency):
                tasks.create_task(worker(), name=f"worker {number}")
    except asyncio.CancelledError:
        is_cut = True
        _stay_alive()
    finally:
        watching.cancel()
    seconds = time.perf_counter() - begin
    report(1.0, len(times_s) + errors.total())
    return Measured(
        concurrency=load.concurrency,
        seconds=seconds,
        times_s=tuple(times_s),
        errors=dict(errors),
        is_cut=is_cut,
    )


def _stay_alive() -> None:
    """Take back the cancelling of this task: the answers so far are its result."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
