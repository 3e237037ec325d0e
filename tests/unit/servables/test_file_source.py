"""How looks are timed, and what is told of them; what a look decides is in `test_looks`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path

import pytest

from sigrun.config.models import (
    PLATFORM_TENSORFLOW,
    AllVersions,
    ModelConfig,
    ModelSet,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.errors import InvalidArgument, Unavailable
from sigrun.servables.file_source import FileSystemSource
from sigrun.servables.looks import Look, Looker, Memory
from sigrun.servables.servable import Loader, ServableId
from sigrun.servables.source import Finding, GoBack
from sigrun.servables.state import ServableState, State
from tests.fakes.lifecycle import FakeClock, let_others_run, take_at_once
from tests.fakes.servables import FakeLoader

pytestmark = pytest.mark.asyncio

ALL = AllVersions()
YOUNG_S = -3600.0
POLL_S = 30.0


class FakeTarget:
    """Keeps what it is told last of each model: version -> the path's name; and the revisions."""

    def __init__(self) -> None:
        self.aspired: dict[str, dict[int, str]] = {}
        self.revisions: dict[str, Hashable] = {}
        self.calls = 0
        self.paths: dict[ServableId, str] = {}

    def set_aspired_versions(self, name: str, loaders: Collection[Loader]) -> None:
        self.calls += 1
        self.aspired[name] = {loader.id.version: self.paths[loader.id] for loader in loaders}
        for loader in loaders:
            self.revisions[str(loader.id)] = loader.revision


class FakeStates:
    """Says of every version what the test says."""

    def __init__(self) -> None:
        self.failed: set[int] = set()

    def states(self, name: str) -> Mapping[int, ServableState]:
        error = InvalidArgument("no graph")
        return {v: ServableState(ServableId(name, v), State.END, error) for v in self.failed}


class Lost:
    """Takes looks at once, but for those at the models in `names`, which never answer."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.begun = 0
        self.answers = asyncio.Event()

    async def __call__(self, look: Callable[[], Look]) -> Look:
        found = look()
        self.begun += 1
        if any(f"/{name}" in str(found.chosen) for name in self.names):
            await self.answers.wait()
        return found


class Rig:
    """A source over `folder`, whose clock says that all files have settled."""

    def __init__(
        self, folder: Path, *, poll_wait_s: float = POLL_S, lost: Lost | None = None
    ) -> None:
        self.folder = folder
        self.target = FakeTarget()
        self.states = FakeStates()
        self.age_s = 3600.0
        self.clock = FakeClock()
        self.source = FileSystemSource(
            loaders={PLATFORM_TENSORFLOW: self._make_loader},
            target=self.target,
            states=self.states,
            poll_wait_s=poll_wait_s,
            clock=self.clock,
            wall_clock=lambda: time.time() + self.age_s,
            sleep=self.clock.sleep,
            take=lost or take_at_once,
            answer_within_s=0.01 if lost else 10.0,
        )

    def _make_loader(self, id: ServableId, path: Path, revision: Hashable) -> Loader:
        self.target.paths[id] = path.name
        return FakeLoader(id, revision=revision)

    def add(self, *names: str, model: str = "mnist") -> Path:
        """Put children of these names under the base path of `model`; return the last one."""
        for name in names:
            path = self.folder / model / name
            path.mkdir(parents=True)
            (path / "saved_model.pb").write_text("a model")
        return path

    async def watch(self, *models: ModelConfig) -> GoBack:
        """Watch these, and return when they have been looked at."""
        go_back = self.source.watch(ModelSet(models))
        await let_others_run()
        return go_back

    def model(
        self, name: str = "mnist", policy: VersionPolicy = ALL, folder: str | None = None
    ) -> ModelConfig:
        base_path = self.folder / (folder or name)
        return ModelConfig(name=name, base_path=str(base_path), version_policy=policy)

    @property
    def mnist(self) -> dict[int, str] | None:
        """What is aspired of `mnist`, None if nothing was ever said."""
        return self.target.aspired.get("mnist")

    def finding(self, name: str = "mnist") -> Finding:
        finding = self.source.finding(name)
        assert finding is not None
        return finding


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# What the target is told


async def test_a_model_is_looked_at_as_soon_as_it_is_watched(rig: Rig) -> None:
    rig.add("1", "002")

    await rig.watch(rig.model())

    assert rig.mnist == {1: "1", 2: "002"}
    assert rig.finding().chosen == {1, 2}


async def test_a_missing_base_path_leaves_the_other_models_alone(rig: Rig) -> None:
    rig.add("1")

    await rig.watch(rig.model("iris"), rig.model(), rig.model("zebra"))

    assert rig.target.aspired == {"mnist": {1: "1"}}


async def test_a_base_path_that_disappears_leaves_its_own_versions_alone(rig: Rig) -> None:
    path = rig.add("1")
    await rig.watch(rig.model())
    calls = rig.target.calls

    path.parent.rename(rig.folder / "elsewhere")
    await rig.clock.advance(POLL_S)

    assert rig.target.calls == calls
    assert isinstance(rig.finding().problem, InvalidArgument)


async def test_an_empty_base_path_unloads_every_version(rig: Rig) -> None:
    path = rig.add("1")
    await rig.watch(rig.model())

    path.rename(path.with_name("gone"))
    await rig.clock.advance(POLL_S)

    assert rig.mnist == {}


async def test_a_version_that_is_being_written_is_not_told(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")

    await rig.watch(rig.model())

    assert rig.mnist is None
    assert rig.finding().is_settling
    assert isinstance(rig.finding().problem, Unavailable)


async def test_a_failed_version_is_told_anew_when_its_files_have_changed(rig: Rig) -> None:
    path = rig.add("1")
    await rig.watch(rig.model())
    before = rig.target.revisions["mnist:1"]

    rig.states.failed.add(1)
    (path / "saved_model.pb").write_text("a better model")
    await rig.clock.advance(POLL_S)

    assert rig.target.revisions["mnist:1"] != before


async def test_a_version_that_is_overwritten_late_is_found_changed(rig: Rig) -> None:
    path = rig.add("1")
    await rig.watch(rig.model())
    await rig.clock.advance(3600)

    (path / "saved_model.pb").write_text("another model")
    await rig.clock.advance(POLL_S)

    assert rig.finding().changed == {1: "saved_model.pb"}


async def test_listeners_hear_of_every_look(rig: Rig) -> None:
    heard: list[bool] = []
    rig.add("1")
    rig.source.subscribe(lambda: heard.append(True))

    await rig.watch(rig.model())
    await rig.clock.advance(2 * POLL_S)

    assert len(heard) == 3


# What is logged


async def test_what_is_wrong_is_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    await rig.watch(rig.model())
    await rig.clock.advance(2 * POLL_S)

    assert caplog.text.count("Could not find base path") == 1


async def test_specific_versions_that_are_missing_are_named_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.add("1")
    await rig.watch(rig.model(policy=SpecificVersions(frozenset({1, 2, 3}))))
    await rig.clock.advance(2 * POLL_S)

    assert caplog.text.count("versions 2, 3 of servable mnist are not under base path") == 1


async def test_folders_of_the_same_version_are_named_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.add("1", "01")
    await rig.watch(rig.model())
    await rig.clock.advance(2 * POLL_S)

    assert caplog.text.count("are the same version") == 1


async def test_being_written_for_a_while_is_not_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")

    await rig.watch(rig.model())

    assert caplog.text == ""


async def keep_writing(rig: Rig, path: Path, seconds: int) -> None:
    for second in range(seconds):
        (path / "saved_model.pb").write_text("x" * second)
        await rig.clock.advance(1.0)


async def test_a_version_that_does_not_settle_is_named_once_with_its_folder_and_file(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    await rig.watch(rig.model())

    await keep_writing(rig, path, 100)

    assert (
        caplog.text.count(
            f"servable mnist has waited 30 s for its files: version 1 in {path} is being written, "
            "last saved_model.pb"
        )
        == 1
    )


# When looks are taken


async def test_base_paths_are_looked_at_once_in_every_period(rig: Rig) -> None:
    rig.add("1")
    await rig.watch(rig.model())

    await rig.clock.advance(2 * POLL_S)

    assert rig.clock.naps == [POLL_S] * 3


async def test_they_are_looked_at_more_often_while_something_is_being_written(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")
    await rig.watch(rig.model())

    await rig.clock.advance(2.0)

    assert rig.clock.naps == [0.5] * 4 + [POLL_S]
    assert rig.mnist == {1: "1"}


async def test_quick_looks_end_when_nothing_settles(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    await rig.watch(rig.model())

    await keep_writing(rig, path, 100)

    assert rig.clock.naps.count(0.5) == 60
    assert rig.clock.naps[-1] == 10.0
    assert rig.finding().is_overdue


async def test_a_look_that_takes_long_is_followed_by_a_pause_that_is_longer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Looker.look

    def slow(looker: Looker, memory: Memory) -> Look:
        rig.clock.now += 20.0
        return look(looker, memory)

    monkeypatch.setattr(Looker, "look", slow)
    rig.add("1")
    await rig.watch(rig.model())

    assert rig.clock.naps == [100.0]


async def test_with_polling_off_what_has_settled_is_not_looked_at_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, poll_wait_s=0)
    rig.add("1")
    await rig.watch(rig.model())

    rig.add("2")
    await rig.clock.advance(3600)

    assert rig.mnist == {1: "1"}
    assert rig.clock.naps == []


async def test_with_polling_off_each_model_is_looked_for_until_it_has_settled(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, poll_wait_s=0)
    rig.add("1", model="iris")
    await rig.watch(rig.model(), rig.model("iris"))
    await rig.clock.advance(100.0)

    rig.age_s = YOUNG_S
    rig.add("1")
    await rig.clock.advance(100.0)

    assert rig.target.aspired == {"mnist": {1: "1"}, "iris": {1: "1"}}


async def test_a_look_that_fails_is_logged_and_followed_by_others(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.add("1")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(rig.target, "set_aspired_versions", fail)
        await rig.watch(rig.model())
    await rig.clock.advance(POLL_S)

    assert "looking for versions failed" in caplog.text
    assert rig.mnist == {1: "1"}


async def test_after_closing_nothing_is_looked_at(rig: Rig) -> None:
    await rig.watch(rig.model())

    await rig.source.close()
    rig.add("1")
    await rig.clock.advance(10 * POLL_S)

    assert rig.mnist is None


# File systems that do not answer


async def until(rig: Rig, condition: Callable[[], bool]) -> None:
    looked = asyncio.Event()
    rig.source.subscribe(looked.set)
    while not condition():
        looked.clear()
        await looked.wait()


async def test_a_base_path_that_does_not_answer_keeps_no_other_model_from_being_found(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, lost=Lost("lost"))
    for name in ("lost", "near"):
        rig.add("1", model=name)

    await rig.watch(rig.model("lost"), rig.model("near"))
    await until(rig, lambda: rig.source.finding("lost") is not None)

    assert rig.target.aspired == {"near": {1: "1"}}
    assert "does not answer" in str(rig.finding("lost").problem)


async def test_many_that_do_not_answer_take_no_place_from_the_others(tmp_path: Path) -> None:
    names = [f"lost{number}" for number in range(20)]
    rig = Rig(tmp_path, lost=Lost(*names))
    for name in (*names, "near"):
        rig.add("1", model=name)

    await rig.watch(*map(rig.model, names), rig.model("near"))
    await until(rig, lambda: "near" in rig.target.aspired)


async def test_a_look_that_answers_late_counts(tmp_path: Path) -> None:
    lost = Lost("mnist")
    rig = Rig(tmp_path, lost=lost)
    rig.add("1")
    await rig.watch(rig.model())
    await until(rig, lambda: rig.source.finding("mnist") is not None)

    lost.answers.set()
    await rig.clock.advance(POLL_S)

    assert rig.mnist == {1: "1"}


async def test_closing_does_not_wait_for_what_does_not_answer(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lost=Lost("mnist"))
    rig.add("1")
    await rig.watch(rig.model())

    await asyncio.wait_for(rig.source.close(), 5)

    assert rig.mnist is None


# Which models are watched


async def test_a_model_that_is_no_longer_watched_loses_its_versions_at_once(rig: Rig) -> None:
    rig.add("1")
    await rig.watch(rig.model())

    rig.source.watch(ModelSet())

    assert rig.target.aspired == {"mnist": {}}


async def test_a_model_that_is_no_longer_watched_is_not_looked_at(rig: Rig) -> None:
    rig.add("1")
    await rig.watch(rig.model())
    await rig.watch()
    rig.target.calls = 0

    await rig.clock.advance(10 * POLL_S)

    assert rig.target.calls == 0
    assert rig.source.finding("mnist") is None


async def test_a_change_of_policy_counts_at_once_and_reads_nothing_again(rig: Rig) -> None:
    rig.add("1", "2")
    await rig.watch(rig.model())
    rig.age_s = YOUNG_S

    await rig.watch(rig.model(policy=SpecificVersions(frozenset({1}))))

    assert rig.mnist == {1: "1"}


async def test_a_model_that_is_configured_anew_has_not_been_looked_at(rig: Rig) -> None:
    rig.add("1")
    await rig.watch(rig.model())

    rig.source.watch(ModelSet((rig.model(policy=SpecificVersions(frozenset({1}))),)))

    assert rig.source.finding("mnist") is None


async def test_a_new_base_path_keeps_the_versions_until_it_has_been_looked_at(rig: Rig) -> None:
    rig.add("1")
    rig.add("2", model="other")
    await rig.watch(rig.model())

    rig.source.watch(ModelSet((rig.model(folder="other"),)))
    before = rig.mnist
    await let_others_run()

    assert (before, rig.mnist) == ({1: "1"}, {2: "2"})


async def test_going_back_aspires_to_what_was_found_before(rig: Rig) -> None:
    rig.add("1", "2")
    rig.add("3", model="other")
    await rig.watch(rig.model(), rig.model("missing"))

    go_back = await rig.watch(rig.model(folder="other"))
    meanwhile = rig.mnist
    go_back()

    assert meanwhile == {3: "3"}
    assert rig.mnist == {1: "1", 2: "2"}


async def test_going_back_goes_on_looking(rig: Rig) -> None:
    rig.add("1")
    await rig.watch(rig.model())
    go_back = await rig.watch(rig.model(folder="other"))
    go_back()

    rig.add("2")
    await rig.clock.advance(POLL_S)

    assert rig.mnist == {1: "1", 2: "2"}


async def test_going_back_drops_what_came_after(rig: Rig) -> None:
    rig.add("1")
    rig.add("1", model="iris")
    await rig.watch(rig.model())

    go_back = await rig.watch(rig.model(), rig.model("iris"))
    go_back()
    await rig.clock.advance(POLL_S)

    assert rig.target.aspired == {"mnist": {1: "1"}, "iris": {}}
