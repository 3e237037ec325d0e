from __future__ import annotations

import pytest

from sigrun.batching.runners import BatchRunners
from tests.fakes.lifecycle import let_others_run

pytestmark = pytest.mark.asyncio


class FakeScheduler:
    """Has `batches` that wait; `offers` lists how many runners it could have had each time."""

    def __init__(self, name: str, batches: int, started: list[str], *, wants: int = 1) -> None:
        self.name = name
        self.batches = batches
        self.offers: list[int] = []
        self._started = started
        self._wants = wants

    def start_batches(self, now: float, runners: int) -> int:
        self.offers.append(runners)
        taken = min(runners, self._wants, self.batches)
        self.batches -= taken
        self._started.extend([self.name] * taken)
        return taken

    @property
    def has_waiting(self) -> bool:
        return self.batches > 0


async def test_a_batch_starts_one_turn_of_the_loop_after_the_call() -> None:
    started: list[str] = []
    runners = BatchRunners(1)

    runners.call(FakeScheduler("a", 1, started))
    at_once = list(started)
    await let_others_run()

    assert at_once == []
    assert started == ["a"]


async def test_schedulers_take_turns() -> None:
    started: list[str] = []
    runners = BatchRunners(4)

    runners.call(FakeScheduler("a", 3, started))
    runners.call(FakeScheduler("b", 2, started))
    await let_others_run()

    assert started == ["a", "b", "a", "b"]


async def test_no_more_batches_run_than_there_are_runners() -> None:
    started: list[str] = []
    runners = BatchRunners(2)
    runners.call(FakeScheduler("a", 5, started))
    await let_others_run()
    before = len(started)

    runners.release()
    await let_others_run()

    assert (before, len(started)) == (2, 3)
    assert runners.idle == 0


async def test_a_scheduler_with_nothing_to_start_loses_its_turn() -> None:
    started: list[str] = []
    runners = BatchRunners(2)
    waits = FakeScheduler("waits", 1, started, wants=0)

    runners.call(waits)
    runners.call(FakeScheduler("a", 1, started))
    await let_others_run()

    assert started == ["a"]
    assert waits.offers == [1]


async def test_idle_runners_are_offered_except_one_for_each_other_scheduler() -> None:
    started: list[str] = []
    runners = BatchRunners(4)
    first = FakeScheduler("first", 4, started, wants=4)
    second = FakeScheduler("second", 1, started)

    runners.call(first)
    runners.call(second)
    await let_others_run()

    assert first.offers[0] == 3
    assert started == ["first", "first", "first", "second"]


async def test_what_comes_after_a_dispatch_waits_for_it() -> None:
    order: list[str] = []
    runners = BatchRunners(1)

    runners.call(FakeScheduler("a", 1, order))
    runners.after_dispatch(lambda: order.append("after"))
    await let_others_run()

    assert order == ["a", "after"]


async def test_what_comes_after_a_dispatch_is_not_held_up_when_none_is_due() -> None:
    order: list[str] = []
    runners = BatchRunners(0)

    runners.call(FakeScheduler("a", 1, order))
    runners.after_dispatch(lambda: order.append("after"))

    assert order == ["after"]
