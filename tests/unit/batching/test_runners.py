from __future__ import annotations

import pytest

from sigrun.batching.runners import BatchRunners, ModelShare
from tests.fakes.lifecycle import let_others_run

pytestmark = pytest.mark.asyncio

QUICK_S = 0.001
SLOW_S = 1.0


class FakeScheduler:
    """Has `batches` that wait; `offers` lists how many runners it could have had each time."""

    def __init__(
        self,
        name: str,
        batches: int,
        started: list[str],
        *,
        wants: int = 1,
        mean_run_s: float | None = QUICK_S,
        share: ModelShare | None = None,
    ) -> None:
        self.name = name
        self.share = share or ModelShare()
        self.mean_run_s = mean_run_s
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
    busy = FakeScheduler("a", 5, started)
    runners.call(busy)
    await let_others_run()
    before = len(started)

    runners.release(busy.share)
    await let_others_run()

    assert (before, len(started)) == (2, 3)


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


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Models:
    """Runners, and schedulers of models by name; `started` lists whose batches were started."""

    def __init__(self, count: int) -> None:
        self.clock = Time()
        self.runners = BatchRunners(count, clock=self.clock)
        self.started: list[str] = []
        self.schedulers: dict[str, FakeScheduler] = {}

    def load(self, name: str, *, mean_run_s: float | None = QUICK_S) -> None:
        """Make a model known, of which nothing waits."""
        self.schedulers[name] = FakeScheduler(
            name, 0, self.started, mean_run_s=mean_run_s, share=self.runners.share(name)
        )

    async def ask(self, name: str, batches: int = 1) -> None:
        """Let batches of a model come, and start what can be."""
        scheduler = self.schedulers[name]
        scheduler.share.asked_at = self.clock.now
        scheduler.batches += batches
        self.runners.call(scheduler)
        await let_others_run()

    async def end(self, name: str) -> None:
        """End a run of a model."""
        self.runners.release(self.schedulers[name].share)
        await let_others_run()


async def test_a_flooded_slow_model_leaves_one_runner_to_a_model_that_is_asked_for() -> None:
    models = Models(3)
    models.load("slow", mean_run_s=SLOW_S)
    models.load("innocent")
    await models.ask("innocent")
    await models.end("innocent")

    await models.ask("slow", 100)
    await models.ask("innocent")

    assert models.started == ["innocent", "slow", "slow", "innocent"]


async def test_a_slow_model_has_every_runner_while_nobody_else_is_asked_for() -> None:
    models = Models(3)
    models.load("slow", mean_run_s=SLOW_S)
    models.load("idle")

    await models.ask("slow", 100)

    assert models.started == ["slow"] * 3


async def test_a_model_that_was_asked_for_long_ago_is_left_nothing() -> None:
    models = Models(2)
    models.load("slow", mean_run_s=SLOW_S)
    models.load("quiet")
    await models.ask("quiet")
    await models.end("quiet")
    models.clock.now += 60

    await models.ask("slow", 100)

    assert models.started == ["quiet", "slow", "slow"]


async def test_runs_of_unknown_length_leave_one_runner_to_any_other_model() -> None:
    models = Models(2)
    models.load("loop", mean_run_s=None)
    models.load("other")

    await models.ask("loop", 100)
    await models.ask("other")

    assert models.started == ["loop", "other"]


async def test_a_quick_model_that_is_stuck_leaves_one_runner() -> None:
    models = Models(2)
    models.load("stuck")
    models.load("other")
    await models.ask("other")
    await models.end("other")
    await models.ask("stuck")
    models.clock.now += 1

    await models.ask("stuck", 100)
    await models.ask("other")

    assert models.started == ["other", "stuck", "other"]


async def test_a_request_that_does_not_wait_leaves_the_last_runner_as_well() -> None:
    models = Models(2)
    models.load("loop", mean_run_s=None)
    models.load("other")
    loop, other = models.schedulers["loop"], models.schedulers["other"]

    taken = [models.runners.take(one, 0.0) for one in (loop, loop, other, other)]

    assert taken == [True, False, True, False]


async def test_the_next_runner_goes_to_the_model_that_has_the_fewest() -> None:
    models = Models(4)
    for name in ("many", "few"):
        models.load(name)
    await models.ask("many", 100)

    await models.ask("few", 100)
    for _ in range(3):
        await models.end("many")

    assert models.started == ["many"] * 4 + ["few", "few", "many"]


async def test_versions_and_signatures_of_a_model_share() -> None:
    runners = BatchRunners(2)
    share = runners.share("mnist")

    assert runners.share("mnist") is share
    assert runners.share("other") is not share
