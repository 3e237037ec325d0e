from __future__ import annotations

import asyncio

import pytest

from sigrun.telemetry.loop_lag import LAG_BUCKETS_S, LoopLag
from tests.fakes.lifecycle import advance_clock, let_others_run


def counts(lag: LoopLag) -> dict[float, int]:
    (reading,) = lag.readings()
    bounds = (*LAG_BUCKETS_S, float("inf"))
    return {
        bound: count for bound, count in zip(bounds, reading.value.counts, strict=True) if count
    }


def test_what_was_measured_falls_in_buckets() -> None:
    lag = LoopLag()

    for lag_s in (0.0, 0.0005, 0.003, 60.0):
        lag.record(lag_s)

    assert counts(lag) == {0.001: 2, 0.005: 1, float("inf"): 1}
    (reading,) = lag.readings()
    assert reading.value.sum == pytest.approx(60.0035)


@pytest.mark.asyncio
async def test_a_timer_that_is_late_is_lag() -> None:
    lag = LoopLag()
    watching = asyncio.ensure_future(lag.watch())
    await let_others_run()

    advance_clock(0.13)  # it was due after a tenth of a second
    await let_others_run()
    watching.cancel()

    assert counts(lag) == {0.05: 1}
