from __future__ import annotations

import asyncio

import pytest

from sigrun.wire.grpc.arrivals import Arrivals, Lull
from tests.fakes.lifecycle import let_others_run

SHORT_S = 1e-6
LONG_S = 100e-6


class Clock:
    """Advances at each look, as much as a turn of the event loop takes."""

    def __init__(self, turn_s: float) -> None:
        self.now = 1000.0
        self.turn_s = turn_s

    def __call__(self) -> float:
        self.now += self.turn_s
        return self.now


def begun() -> Lull:
    lull = Lull()
    lull.begin(0.0)
    lull.arrival(0.0)
    return lull


def closes_after(lull: Lull, *, turn_s: float, now: float = 0.0) -> float:
    """Return how many seconds after `now` the group closes, if every turn takes so long."""
    for turn in range(1, 100_000):
        if lull.is_over_at(now + turn * turn_s):
            return turn * turn_s
    raise AssertionError("the group never closes")


def test_a_group_closes_when_the_event_loop_has_nothing_to_do() -> None:
    assert closes_after(begun(), turn_s=5e-6) == pytest.approx(60e-6, rel=0.1)


def test_a_turn_that_did_something_postpones_it() -> None:
    lull = begun()

    assert not lull.is_over_at(LONG_S)
    assert closes_after(lull, turn_s=5e-6, now=LONG_S) == pytest.approx(60e-6, rel=0.1)


def test_an_arrival_postpones_it() -> None:
    lull = begun()
    for turn in range(1, 6):
        assert not lull.is_over_at(turn * 10e-6)

    lull.arrival(50e-6)

    assert not lull.is_over_at(62e-6)
    assert closes_after(lull, turn_s=5e-6, now=62e-6) == pytest.approx(50e-6, rel=0.1)


def test_a_busy_event_loop_is_not_waited_for_without_arrivals() -> None:
    assert closes_after(begun(), turn_s=LONG_S) == pytest.approx(500e-6)


def test_a_group_does_not_grow_for_ever() -> None:
    lull, now = begun(), 0.0

    while not lull.is_over_at(now):
        now += LONG_S
        lull.arrival(now)

    assert now == pytest.approx(5e-3)


@pytest.mark.asyncio
async def test_requests_that_arrive_one_after_the_other_go_on_together() -> None:
    arrivals, done = Arrivals(Clock(SHORT_S)), []

    async def request(number: int) -> None:
        assert await arrivals.together()
        done.append(number)

    tasks = []
    for number in range(3):
        tasks.append(asyncio.ensure_future(request(number)))
        await asyncio.sleep(0)
        assert not done
    await asyncio.gather(*tasks)

    assert done == [0, 1, 2]


@pytest.mark.asyncio
async def test_who_is_alone_waits_a_few_times_and_then_one_time_in_many() -> None:
    clock = Clock(SHORT_S)
    arrivals = Arrivals(clock)
    waits = []

    for _ in range(100):
        before = clock.now
        assert not await arrivals.together()
        waits.append(clock.now > before)

    assert waits[:4] == [True] * 4
    assert 4 <= sum(waits[4:]) <= 6


@pytest.mark.asyncio
async def test_one_who_leaves_holds_up_nobody() -> None:
    arrivals = Arrivals(Clock(SHORT_S))
    leaving = asyncio.ensure_future(arrivals.together())
    staying = asyncio.ensure_future(arrivals.together())
    await asyncio.sleep(0)

    leaving.cancel()

    assert await staying
    assert leaving.cancelled()


@pytest.mark.asyncio
async def test_a_large_group_closes_without_a_lull() -> None:
    clock = Clock(0.0)
    arrivals = Arrivals(clock)
    few = [asyncio.ensure_future(arrivals.together()) for _ in range(255)]
    await let_others_run()
    assert not any(task.done() for task in few)

    assert await arrivals.together()
    await asyncio.gather(*few)
