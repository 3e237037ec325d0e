from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.errors import (
    Aborted,
    Cancelled,
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServableNotFound,
    SigrunError,
    Unavailable,
    Unimplemented,
)
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.policy import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
)
from sigrun.servables.servable import Servable, ServableId
from sigrun.servables.state import ServableState, State, StateStream
from tests.fakes.lifecycle import RecordedStates, advance_clock, let_others_run
from tests.fakes.servables import FakeLoader

pytestmark = pytest.mark.asyncio

AT_ONCE = LifecycleOptions(load_retry_interval_s=0)
ONCE_AN_HOUR = LifecycleOptions(load_retry_interval_s=3600)


class Rig:
    """A manager, and what it tells of itself."""

    def __init__(
        self,
        *,
        policy: AspiredVersionPolicy | None = None,
        options: LifecycleOptions = AT_ONCE,
    ) -> None:
        self.stream = StateStream()
        self.monitor = ServableStateMonitor()
        self.stream.subscribe(self.monitor.update)
        self.states = RecordedStates(self.stream)
        self.manager = AspiredVersionsManager(
            policy=policy or AvailabilityPreservingPolicy(), states=self.stream, options=options
        )

    async def serve(self, *loaders: FakeLoader) -> None:
        """Aspire to these, and return when they and nothing else are there."""
        names = {loader.id.name for loader in loaders}
        for name in names:
            self.manager.set_aspired_versions(
                name, [loader for loader in loaders if loader.id.name == name]
            )
        await self.manager.wait_until_settled(names)
        await let_others_run()

    def error(self, version: int) -> SigrunError | None:
        state = self.monitor.state(ServableId("mnist", version))
        return state.error if state else None

    def answers(self, version: int | None = None) -> Servable | None:
        """Return the servable that a request would get now."""
        try:
            with self.manager.acquire("mnist", version) as handle:
                return handle.servable
        except ServableNotFound:
            return None


def loader(
    version: int,
    *,
    name: str = "mnist",
    revision: int = 0,
    errors: Sequence[Exception] = (),
    is_held: bool = False,
) -> FakeLoader:
    return FakeLoader(ServableId(name, version), revision=revision, errors=errors, is_held=is_held)


# Loading


async def test_a_version_goes_from_start_over_loading_to_available() -> None:
    rig = Rig()

    await rig.serve(loader(1))

    assert rig.states.of("mnist:1") == ["START", "LOADING", "AVAILABLE"]


async def test_setting_the_aspired_versions_does_not_wait_for_them() -> None:
    rig, held = Rig(), loader(1, is_held=True)

    rig.manager.set_aspired_versions("mnist", [held])
    await rig.states.until("mnist:1 LOADING")

    assert rig.answers() is None


async def test_all_aspired_versions_are_loaded() -> None:
    rig = Rig()

    await rig.serve(loader(1), loader(10), loader(2))

    assert rig.manager.available_versions("mnist") == [1, 2, 10]


async def test_a_load_of_one_model_holds_no_other_up() -> None:
    rig = Rig()
    rig.manager.set_aspired_versions("iris", [loader(1, name="iris", is_held=True)])

    await rig.serve(loader(1))

    assert rig.answers() is not None


async def test_a_version_that_is_known_keeps_its_loader() -> None:
    rig, first, second = Rig(), loader(1), loader(1)
    await rig.serve(first)

    await rig.serve(second)

    assert (first.loads, second.loads) == (1, 0)
    assert rig.answers() is first.servable


# Handing out


async def test_without_a_version_the_highest_available_one_answers() -> None:
    rig, second = Rig(), loader(2)

    await rig.serve(loader(1), second, loader(3, errors=[InvalidArgument("no graph")]))

    assert rig.answers() is second.servable


async def test_a_version_that_is_named_answers() -> None:
    rig, first = Rig(), loader(1)

    await rig.serve(first, loader(2))

    assert rig.answers(1) is first.servable


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("iris", None, "Servable not found for request: Latest(iris)"),
        ("iris", 1, "Servable not found for request: Specific(iris, 1)"),
        ("mnist", 2, "Servable not found for request: Specific(mnist, 2)"),
        ("mnist", 0, "Servable not found for request: Specific(mnist, 0)"),
    ],
)
async def test_what_is_not_loaded_is_not_found(name: str, version: int | None, text: str) -> None:
    rig = Rig()
    await rig.serve(loader(1))

    with pytest.raises(NotFound) as refused:
        rig.manager.acquire(name, version)

    assert str(refused.value) == text


async def test_whoever_is_told_that_a_version_is_available_can_acquire_it() -> None:
    rig, acquired = Rig(), []

    def acquire(state: ServableState) -> None:
        if state.state is State.AVAILABLE:
            acquired.append(rig.answers(state.id.version))

    rig.stream.subscribe(acquire)

    await rig.serve(first := loader(1))

    assert acquired == [first.servable]


async def test_at_every_change_exactly_what_was_announced_as_available_can_be_acquired() -> None:
    rig, differences = Rig(), []

    def compare(state: ServableState) -> None:
        for version, known in rig.monitor.states("mnist").items():
            # Announced before it is withdrawn, so that both are right at that moment.
            if state.state is State.UNLOADING and state.id == known.id:
                continue
            if (known.state is State.AVAILABLE) is not (rig.answers(version) is not None):
                differences.append(f"at {state}: {known}")

    rig.stream.subscribe(compare)
    second, third = loader(2, is_held=True), loader(3, is_held=True)
    await rig.serve(loader(1))

    rig.manager.set_aspired_versions("mnist", [second, third])
    await rig.states.until("mnist:2 LOADING")
    second.release.set()
    third.release.set()
    await rig.states.until("mnist:1 END")

    assert differences == []


# Changing over


async def test_the_old_version_answers_until_the_new_one_is_available() -> None:
    rig, old, new = Rig(), loader(1), loader(2, is_held=True)
    await rig.serve(old)

    rig.manager.set_aspired_versions("mnist", [new])
    await rig.states.until("mnist:2 LOADING")
    meanwhile = rig.answers()
    new.release.set()
    await rig.states.until("mnist:1 END")

    assert meanwhile is old.servable
    assert rig.answers() is new.servable


async def test_the_old_version_leaves_when_the_new_one_is_available() -> None:
    rig, old = Rig(), loader(1)
    await rig.serve(old)

    await rig.serve(loader(2))

    assert rig.states.seen[-4:] == [
        "mnist:2 LOADING",
        "mnist:2 AVAILABLE",
        "mnist:1 UNLOADING",
        "mnist:1 END",
    ]
    assert old.unloads == 1


async def test_the_old_version_stays_when_the_new_one_fails() -> None:
    rig, old = Rig(), loader(1)
    await rig.serve(old)

    await rig.serve(loader(2, errors=[InvalidArgument("no graph")]))

    assert rig.answers() is old.servable
    assert old.unloads == 0


async def test_where_memory_is_short_the_old_version_leaves_first() -> None:
    rig, old = Rig(policy=ResourcePreservingPolicy()), loader(1)
    await rig.serve(old)

    await rig.serve(loader(2))

    assert rig.states.seen[3:] == [
        "mnist:2 START",
        "mnist:1 UNLOADING",
        "mnist:1 END",
        "mnist:2 LOADING",
        "mnist:2 AVAILABLE",
    ]


async def test_a_version_that_is_dropped_before_its_load_began_ends_without_it() -> None:
    rig, dropped = Rig(policy=ResourcePreservingPolicy()), loader(2)
    await rig.serve(loader(1))

    with rig.manager.acquire("mnist"):
        rig.manager.set_aspired_versions("mnist", [dropped])
        rig.manager.set_aspired_versions("mnist", [])

    assert rig.states.of("mnist:2") == ["START", "END"]
    assert dropped.loads == 0


async def test_a_version_that_is_dropped_while_it_loads_is_unloaded_afterwards() -> None:
    rig, dropped = Rig(), loader(1, is_held=True)
    rig.manager.set_aspired_versions("mnist", [dropped])
    await rig.states.until("mnist:1 LOADING")

    rig.manager.set_aspired_versions("mnist", [])
    dropped.release.set()
    await rig.states.until("mnist:1 END")

    assert dropped.unloads == 1


async def test_no_version_is_left_when_nothing_is_aspired() -> None:
    rig = Rig()
    await rig.serve(loader(1), loader(2))

    rig.manager.set_aspired_versions("mnist", [])
    await rig.states.until("mnist:1 END")
    await rig.states.until("mnist:2 END")

    assert rig.manager.available_versions("mnist") == ()
    assert rig.answers() is None


# Unloading


async def test_a_version_is_unloaded_when_its_last_handle_is_released() -> None:
    rig, old = Rig(), loader(1)
    await rig.serve(old)

    with rig.manager.acquire("mnist"):
        await rig.serve(loader(2))
        unloads_while_it_was_held = old.unloads
    await rig.states.until("mnist:1 END")

    assert (unloads_while_it_was_held, old.unloads) == (0, 1)


async def test_a_version_that_is_about_to_be_unloaded_is_not_handed_out() -> None:
    rig = Rig()
    await rig.serve(loader(1))

    with rig.manager.acquire("mnist"):
        rig.manager.set_aspired_versions("mnist", [])
        await rig.states.until("mnist:1 UNLOADING")
        meanwhile = rig.answers(1)

    assert meanwhile is None


async def test_an_unload_that_fails_is_logged_and_ends_the_version(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stubborn(FakeLoader):
        async def unload(self) -> None:
            raise RuntimeError("it clings")

    rig = Rig()
    await rig.serve(Stubborn(ServableId("mnist", 1)))

    rig.manager.set_aspired_versions("mnist", [])
    await rig.states.until("mnist:1 END")

    assert rig.error(1) is None
    assert "unloading mnist:1 failed" in caplog.text


async def test_a_version_aspired_again_while_it_unloads_is_loaded_afresh() -> None:
    rig, before, again = Rig(), loader(1), loader(1)
    await rig.serve(before)

    with rig.manager.acquire("mnist"):
        rig.manager.set_aspired_versions("mnist", [])
        await rig.states.until("mnist:1 UNLOADING")
        rig.manager.set_aspired_versions("mnist", [again])
        await let_others_run()
        loads_while_it_was_held = again.loads
    await rig.manager.wait_until_settled(["mnist"])

    assert (loads_while_it_was_held, again.loads) == (0, 1)
    assert rig.answers() is again.servable
    assert rig.states.of("mnist:1")[3:] == ["UNLOADING", "END", "START", "LOADING", "AVAILABLE"]


async def test_a_version_aspired_again_and_dropped_again_while_it_unloads_stays_away() -> None:
    rig, again = Rig(), loader(1)
    await rig.serve(loader(1))

    with rig.manager.acquire("mnist"):
        rig.manager.set_aspired_versions("mnist", [])
        await rig.states.until("mnist:1 UNLOADING")
        rig.manager.set_aspired_versions("mnist", [again])
        rig.manager.set_aspired_versions("mnist", [])
    await rig.states.until("mnist:1 END")
    await let_others_run()

    assert again.loads == 0


async def test_a_model_keeps_answering_while_an_older_version_comes_back() -> None:
    """The older version still unloads, held up by a slow request, when it is wanted again."""
    rig, new, old_again = Rig(), loader(2), loader(1)
    await rig.serve(loader(1))

    with rig.manager.acquire("mnist"):
        await rig.serve(new)
        rig.manager.set_aspired_versions("mnist", [old_again])
        await let_others_run()
        meanwhile = rig.answers()
    await rig.states.until("mnist:2 END")

    assert meanwhile is new.servable
    assert rig.answers() is old_again.servable


# Failing


async def test_a_version_that_fails_ends_with_its_error() -> None:
    rig, error = Rig(), InvalidArgument("no graph")

    await rig.serve(loader(1, errors=[error]))

    assert rig.states.of("mnist:1") == ["START", "LOADING", "END"]
    assert rig.error(1) is error


@pytest.mark.parametrize("kind", [Unavailable, ResourceExhausted, Aborted, DeadlineExceeded])
async def test_a_failure_of_the_surroundings_is_tried_again(kind: type[SigrunError]) -> None:
    rig, flaky = Rig(), loader(1, errors=[kind("not now"), kind("not now")])

    await rig.serve(flaky)

    assert flaky.loads == 3
    assert rig.answers() is flaky.servable


@pytest.mark.parametrize("kind", [InvalidArgument, NotFound, FailedPrecondition, Unimplemented])
async def test_what_is_wrong_on_disk_is_not_tried_again(kind: type[SigrunError]) -> None:
    rig, broken = Rig(), loader(1, errors=[kind("broken")])

    await rig.serve(broken)

    assert broken.loads == 1
    assert rig.answers() is None


async def test_a_load_is_given_up_after_so_many_retries() -> None:
    rig = Rig(options=LifecycleOptions(load_retry_interval_s=0, max_num_load_retries=2))
    broken = loader(1, errors=[Unavailable(f"failure {number}") for number in (1, 2, 3, 4)])

    await rig.serve(broken)

    assert broken.loads == 3
    assert str(rig.error(1)) == "failure 3"


async def test_a_load_is_tried_again_after_a_pause() -> None:
    rig, flaky = Rig(options=ONCE_AN_HOUR), loader(1, errors=[Unavailable("not now")])
    rig.manager.set_aspired_versions("mnist", [flaky])
    await let_others_run()

    advance_clock(3599)
    await let_others_run()
    loads_before_the_pause_was_over = flaky.loads
    advance_clock(1)
    await rig.states.until("mnist:1 AVAILABLE")

    assert (loads_before_the_pause_was_over, flaky.loads) == (1, 2)


async def test_a_version_that_is_dropped_is_not_tried_again() -> None:
    rig, broken = Rig(options=ONCE_AN_HOUR), loader(1, errors=[Unavailable("not now")])
    rig.manager.set_aspired_versions("mnist", [broken])
    await rig.states.until("mnist:1 LOADING")
    await let_others_run()

    rig.manager.set_aspired_versions("mnist", [])
    await rig.states.until("mnist:1 END")

    assert broken.loads == 1
    assert isinstance(rig.error(1), Cancelled)
    assert str(rig.error(1)) == "Loading of servable cancelled"


async def test_an_error_that_nobody_expected_is_an_internal_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()

    await rig.serve(loader(1, errors=[ZeroDivisionError("by zero")]))

    assert isinstance(rig.error(1), Internal)
    assert str(rig.error(1)) == "ZeroDivisionError: by zero"
    assert "loading mnist:1 failed unexpectedly" in caplog.text


async def test_a_version_that_failed_is_not_loaded_again_from_the_same_files() -> None:
    rig, again = Rig(), loader(1)
    await rig.serve(loader(1, errors=[InvalidArgument("no graph")]))

    await rig.serve(again)

    assert again.loads == 0
    assert rig.answers() is None


async def test_a_version_that_failed_is_loaded_again_when_its_files_have_changed() -> None:
    rig, mended = Rig(), loader(1, revision=1)
    await rig.serve(loader(1, errors=[InvalidArgument("no graph")]))

    await rig.serve(mended)

    assert rig.answers() is mended.servable


async def test_a_version_that_failed_is_loaded_again_when_it_was_away_meanwhile() -> None:
    rig, again = Rig(), loader(1)
    await rig.serve(loader(1, errors=[InvalidArgument("no graph")]))

    rig.manager.set_aspired_versions("mnist", [])
    await rig.serve(again)

    assert rig.answers() is again.servable


# Waiting


async def test_models_are_settled_when_each_version_is_available_or_has_failed() -> None:
    rig, held = Rig(), loader(2, is_held=True)
    rig.manager.set_aspired_versions(
        "mnist", [loader(1), held, loader(3, errors=[InvalidArgument("no graph")])]
    )
    waiting = asyncio.create_task(rig.manager.wait_until_settled(["mnist"]))

    await rig.states.until("mnist:3 END")
    await let_others_run()
    was_over_before_the_last = waiting.done()
    held.release.set()
    await waiting

    assert not was_over_before_the_last


async def test_a_model_without_versions_is_settled() -> None:
    await Rig().manager.wait_until_settled(["mnist"])


async def test_nothing_is_unloaded_while_unloads_are_held() -> None:
    rig, old = Rig(), loader(1)
    await rig.serve(old)

    with rig.manager.unloads_held():
        await rig.serve(loader(2))
        meanwhile = rig.answers(1)
    await rig.states.until("mnist:1 END")

    assert meanwhile is old.servable
    assert rig.answers(1) is None


async def test_what_is_aspired_again_while_unloads_are_held_stays() -> None:
    rig, old = Rig(), loader(1)
    await rig.serve(old)

    with rig.manager.unloads_held():
        rig.manager.set_aspired_versions("mnist", [])
        rig.manager.set_aspired_versions("mnist", [loader(1)])
    await let_others_run()

    assert rig.answers() is old.servable
    assert old.unloads == 0


async def test_unloads_go_on_when_the_block_that_held_them_fails() -> None:
    rig = Rig()
    await rig.serve(loader(1))

    def fail() -> None:
        with rig.manager.unloads_held():
            rig.manager.set_aspired_versions("mnist", [])
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        fail()

    await rig.states.until("mnist:1 END")


async def test_closing_waits_for_handles_and_unloads_everything() -> None:
    rig, first, other = Rig(), loader(1), loader(1, name="iris")
    await rig.serve(first, other)

    with rig.manager.acquire("mnist"):
        closing = asyncio.create_task(rig.manager.close())
        await rig.states.until("iris:1 END")
        was_over_before_the_last = closing.done()
    await closing

    assert not was_over_before_the_last
    assert (first.unloads, other.unloads) == (1, 1)


async def test_closing_waits_for_no_load() -> None:
    rig, held, other = Rig(), loader(1, is_held=True), loader(1, name="iris")
    await rig.serve(other)
    rig.manager.set_aspired_versions("mnist", [held])
    await rig.states.until("mnist:1 LOADING")

    await asyncio.wait_for(rig.manager.close(), 5)

    assert rig.states.of("mnist:1")[-1] == "END"
    assert isinstance(rig.error(1), Cancelled)
    assert other.unloads == 1


async def test_closing_leaves_what_does_not_end_in_time(caplog: pytest.LogCaptureFixture) -> None:
    rig, other = Rig(), loader(1, name="iris")
    await rig.serve(loader(1), other)

    with rig.manager.acquire("mnist"):
        closing = asyncio.create_task(rig.manager.close(within_s=60))
        await rig.states.until("iris:1 END")
        advance_clock(60)
        await asyncio.wait_for(closing, 5)

    assert "these did not end in time and are left: unload mnist:1" in caplog.text


# Versions whose files have changed


async def test_a_loaded_version_is_replaced_when_its_files_have_changed() -> None:
    rig, old, new = Rig(), loader(1), loader(1, revision=1)
    await rig.serve(old)

    await rig.serve(new)

    assert rig.answers() is new.servable
    assert (old.unloads, new.unloads) == (1, 0)
    assert rig.states.of("mnist:1") == ["START", "LOADING", "AVAILABLE", "AVAILABLE"]


async def test_a_version_answers_while_it_is_replaced() -> None:
    rig, old, new = Rig(), loader(1), loader(1, revision=1, is_held=True)
    await rig.serve(old)
    rig.manager.set_aspired_versions("mnist", [new])
    await let_others_run()

    with rig.manager.acquire("mnist") as handle:
        new.release.set()
        await let_others_run()
        held, unloads_while_held = handle.servable, old.unloads
        after = rig.answers()
    await let_others_run()

    assert held is old.servable
    assert after is new.servable
    assert (unloads_while_held, old.unloads) == (0, 1)


async def test_a_version_stays_as_it_was_when_its_changed_files_do_not_load(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig, old = Rig(), loader(1)
    broken = loader(1, revision=1, errors=[InvalidArgument("no graph")] * 9)
    await rig.serve(old)

    await rig.serve(broken)
    await rig.serve(broken)

    assert rig.answers() is old.servable
    assert (broken.loads, old.unloads) == (1, 0)
    state = rig.monitor.state(ServableId("mnist", 1))
    assert state is not None
    assert (state.state, state.error) == (State.AVAILABLE, None)
    assert "loading it again failed: INVALID_ARGUMENT: no graph" in state.note
    assert "loading it again failed" in caplog.text


async def test_a_version_whose_files_change_again_after_a_failure_is_tried_again() -> None:
    rig, good = Rig(), loader(1, revision=2)
    await rig.serve(loader(1))
    await rig.serve(loader(1, revision=1, errors=[InvalidArgument("no graph")]))

    await rig.serve(good)

    assert rig.answers() is good.servable


async def test_files_that_change_while_a_version_loads_are_loaded_next() -> None:
    rig, held, new = Rig(), loader(1, is_held=True), loader(1, revision=1)
    rig.manager.set_aspired_versions("mnist", [held])
    await rig.states.until("mnist:1 LOADING")

    rig.manager.set_aspired_versions("mnist", [new])
    held.release.set()
    await rig.serve(new)

    assert rig.answers() is new.servable
    assert held.unloads == 1


async def test_files_that_change_while_a_version_fails_to_load_are_tried_next() -> None:
    rig, new = Rig(), loader(1, revision=1)
    held = loader(1, is_held=True, errors=[InvalidArgument("no graph")])
    rig.manager.set_aspired_versions("mnist", [held])
    await rig.states.until("mnist:1 LOADING")

    rig.manager.set_aspired_versions("mnist", [new])
    held.release.set()
    await rig.states.until("mnist:1 AVAILABLE")

    assert rig.answers() is new.servable


async def test_files_that_change_while_a_version_is_replaced_are_loaded_next() -> None:
    rig, held, newest = Rig(), loader(1, revision=1, is_held=True), loader(1, revision=2)
    await rig.serve(loader(1))
    rig.manager.set_aspired_versions("mnist", [held])
    await let_others_run()

    rig.manager.set_aspired_versions("mnist", [newest])
    held.release.set()
    await let_others_run()

    assert rig.answers() is newest.servable
    assert held.unloads == 1


async def test_a_version_that_is_dropped_while_it_is_replaced_leaves_nothing_behind() -> None:
    rig, old, held = Rig(), loader(1), loader(1, revision=1, is_held=True)
    await rig.serve(old)
    rig.manager.set_aspired_versions("mnist", [held])
    await let_others_run()

    rig.manager.set_aspired_versions("mnist", [])
    held.release.set()
    await rig.states.until("mnist:1 END")

    assert rig.answers() is None
    assert (old.unloads, held.unloads) == (1, 1)


async def test_nothing_is_replaced_while_unloads_are_held() -> None:
    rig, old, new = Rig(), loader(1), loader(1, revision=1)
    await rig.serve(old)

    with rig.manager.unloads_held():
        rig.manager.set_aspired_versions("mnist", [new])
        rig.manager.set_aspired_versions("mnist", [loader(1)])
    await let_others_run()

    assert rig.answers() is old.servable
    assert new.loads == 0


async def test_where_memory_is_short_a_version_leaves_before_its_successor_loads() -> None:
    rig, old, new = Rig(policy=ResourcePreservingPolicy()), loader(1), loader(1, revision=1)
    await rig.serve(old)

    await rig.serve(new)

    assert rig.answers() is new.servable
    assert rig.states.of("mnist:1")[3:] == ["UNLOADING", "END", "START", "LOADING", "AVAILABLE"]


async def test_closing_gives_up_a_replacement() -> None:
    rig, old, held = Rig(), loader(1), loader(1, revision=1, is_held=True)
    await rig.serve(old)
    rig.manager.set_aspired_versions("mnist", [held])
    await let_others_run()

    await asyncio.wait_for(rig.manager.close(), 5)

    assert old.unloads == 1


async def test_the_code_of_a_missing_servable_is_not_found() -> None:
    with pytest.raises(ServableNotFound) as refused:
        Rig().manager.acquire("mnist")

    assert refused.value.code is Code.NOT_FOUND
