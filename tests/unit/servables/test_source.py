from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Collection, Hashable
from pathlib import Path

import pytest

from sigrun.config.models import (
    AllVersions,
    LatestVersions,
    ModelConfig,
    ModelSet,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.errors import InvalidArgument, NotFound, Unavailable
from sigrun.servables.servable import Loader, ServableId
from sigrun.servables.source import FileSystemSource, Watch, find_versions
from tests.fakes.lifecycle import FakeSleep
from tests.fakes.servables import FakeLoader

MAX_INT64 = 2**63 - 1
ALL = AllVersions()
# By the source's clock files lie in the future, so that no delay of a test makes them old.
YOUNG_S = -3600.0


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


class Rig:
    """A source over `folder`, whose clock says that all files have settled."""

    def __init__(self, folder: Path, *, answer_within_s: float = 10.0) -> None:
        self.folder = folder
        self.target = FakeTarget()
        self.failed: set[ServableId] = set()
        self.age_s = 3600.0
        self.sleep = FakeSleep()
        self.source = FileSystemSource(
            make_loader=self._make_loader,
            target=self.target,
            has_failed=self.failed.__contains__,
            poll_wait_s=30,
            wall_clock=lambda: time.time() + self.age_s,
            sleep=self.sleep,
            answer_within_s=answer_within_s,
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

    def watch(self, *models: ModelConfig) -> Watch:
        return self.source.watch(ModelSet(models))

    def model(self, name: str = "mnist", policy: VersionPolicy = ALL) -> ModelConfig:
        return ModelConfig(name=name, base_path=str(self.folder / name), version_policy=policy)

    async def look(self) -> dict[int, str] | None:
        """Look once; return what is aspired of `mnist` then, None if nothing was ever said."""
        await self.source.look()
        return self.target.aspired.get("mnist")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# The names of versions


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("0", 0),
        ("00000123", 123),
        ("1700000000", 1700000000),
        (str(MAX_INT64), MAX_INT64),
    ],
)
def test_a_name_that_is_a_whole_number_is_a_version(rig: Rig, name: str, version: int) -> None:
    path = rig.add(name)

    assert find_versions(path.parent) == {version: path}


@pytest.mark.parametrize(
    "name",
    ["v1", "1.tmp", "2.denied", "tmp", "-1", "+1", "1_000", "0x1", "1e3", " 1", "٣", "²"],
)
def test_any_other_name_is_none(rig: Rig, name: str) -> None:
    path = rig.add(name)

    assert find_versions(path.parent) == {}


@pytest.mark.parametrize("name", [str(MAX_INT64 + 1), "9" * 100])
def test_a_number_too_large_for_int64_is_none(rig: Rig, name: str) -> None:
    path = rig.add(name)

    assert find_versions(path.parent) == {}


def test_of_two_names_of_one_version_the_first_in_the_alphabet_counts(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    path = rig.add("1", "001", "01")

    versions = find_versions(path.parent)

    assert versions == {1: path.parent / "001"}
    assert caplog.text.count("are the same version") == 2


def test_a_file_counts_as_a_version(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("not a directory")

    assert find_versions(tmp_path) == {1: tmp_path / "1"}


def test_a_base_path_that_is_missing_cannot_be_searched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_versions(tmp_path / "missing")


# Which of them are aspired


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("policy", "aspired"),
    [
        (LatestVersions(), {10}),
        (LatestVersions(0), {10}),
        (LatestVersions(2), {3, 10}),
        (LatestVersions(100), {1, 3, 10}),
        (AllVersions(), {1, 3, 10}),
        (SpecificVersions(frozenset({1, 3})), {1, 3}),
        (SpecificVersions(frozenset({3, 4})), {3}),
        (SpecificVersions(frozenset({4})), set()),
        (SpecificVersions(frozenset()), set()),
    ],
)
async def test_the_version_policy_chooses(
    rig: Rig, policy: VersionPolicy, aspired: set[int]
) -> None:
    rig.add("1", "003", "10")
    rig.watch(rig.model(policy=policy))

    found = await rig.look()

    assert set(found or ()) == aspired


@pytest.mark.asyncio
async def test_each_version_comes_with_its_own_path(rig: Rig) -> None:
    rig.add("1", "002")
    rig.watch(rig.model())

    assert await rig.look() == {1: "1", 2: "002"}


@pytest.mark.asyncio
async def test_specific_versions_that_are_missing_are_named_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.add("1")
    rig.watch(rig.model(policy=SpecificVersions(frozenset({1, 2, 3}))))

    await rig.look()
    await rig.look()

    assert caplog.text.count("versions 2, 3 of servable mnist are not under base path") == 1


@pytest.mark.asyncio
async def test_a_change_of_policy_counts_from_the_next_look_on(rig: Rig) -> None:
    rig.add("1", "2")
    rig.watch(rig.model(policy=LatestVersions()))
    await rig.look()

    rig.watch(rig.model(policy=SpecificVersions(frozenset({1}))))

    assert await rig.look() == {1: "1"}


@pytest.mark.asyncio
async def test_versions_that_come_and_go_are_followed(rig: Rig) -> None:
    first = rig.add("1")
    rig.watch(rig.model())
    await rig.look()

    first.rename(first.with_name("gone"))
    rig.add("2")

    assert await rig.look() == {2: "2"}


# Base paths that are missing or empty


@pytest.mark.asyncio
async def test_a_missing_base_path_leaves_the_other_models_alone(rig: Rig) -> None:
    rig.add("1")
    rig.watch(rig.model("iris"), rig.model(), rig.model("zebra"))

    assert await rig.look() == {1: "1"}
    assert set(rig.target.aspired) == {"mnist"}


@pytest.mark.asyncio
async def test_a_base_path_that_disappears_leaves_its_own_versions_alone(rig: Rig) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    calls = rig.target.calls

    path.parent.rename(rig.folder / "elsewhere")
    await rig.look()

    assert rig.target.calls == calls


@pytest.mark.asyncio
async def test_a_missing_base_path_is_a_problem_that_is_logged_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.watch(rig.model())

    await rig.look()
    await rig.look()

    problem = rig.source.problem("mnist")
    assert isinstance(problem, InvalidArgument)
    assert str(problem).startswith(
        f"Could not find base path {rig.folder}/mnist for servable mnist with error "
    )
    assert caplog.text.count("Could not find base path") == 1


@pytest.mark.asyncio
async def test_a_base_path_that_no_file_system_could_have_is_missing_too(rig: Rig) -> None:
    rig.add("1")
    rig.watch(ModelConfig(name="iris", base_path="/with\0zero"), rig.model())

    assert await rig.look() == {1: "1"}
    assert isinstance(rig.source.problem("iris"), InvalidArgument)


@pytest.mark.asyncio
async def test_an_empty_base_path_unloads_every_version(rig: Rig) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()

    path.rename(path.with_name("gone"))

    assert await rig.look() == {}


@pytest.mark.asyncio
async def test_an_empty_base_path_is_a_problem(rig: Rig) -> None:
    rig.add("v1")
    rig.watch(rig.model())

    await rig.look()

    problem = rig.source.problem("mnist")
    assert isinstance(problem, NotFound)
    assert str(problem) == (
        f"No versions of servable mnist found under base path {rig.folder}/mnist. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


@pytest.mark.asyncio
async def test_a_policy_that_wants_none_of_the_versions_is_a_problem(rig: Rig) -> None:
    rig.add("1")
    rig.watch(rig.model(policy=SpecificVersions(frozenset({2}))))

    await rig.look()

    assert isinstance(rig.source.problem("mnist"), NotFound)


@pytest.mark.asyncio
async def test_a_problem_is_over_when_a_version_is_found(rig: Rig) -> None:
    rig.watch(rig.model())
    await rig.look()

    rig.add("1")
    await rig.look()

    assert rig.source.problem("mnist") is None


def test_a_model_that_is_not_watched_has_no_problem(rig: Rig) -> None:
    assert rig.source.problem("mnist") is None


# Directories that are still written to


@pytest.mark.asyncio
async def test_a_directory_just_written_to_is_taken_when_a_second_look_finds_the_same(
    rig: Rig,
) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")
    rig.watch(rig.model())

    first, second = await rig.look(), await rig.look()

    assert (first, second) == ({}, {1: "1"})


@pytest.mark.asyncio
async def test_a_directory_that_still_grows_is_not_taken(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()

    (path / "variables").write_text("some of them")
    between = await rig.look()
    (path / "variables").write_text("some of them, and the rest")

    assert (between, await rig.look(), await rig.look()) == ({}, {}, {1: "1"})


@pytest.mark.asyncio
async def test_files_deep_inside_count(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    (path / "assets" / "tables").mkdir(parents=True)
    rig.watch(rig.model())
    await rig.look()

    (path / "assets" / "tables" / "words").write_text("a table")

    assert (await rig.look(), await rig.look()) == ({}, {1: "1"})


@pytest.mark.asyncio
async def test_a_directory_that_is_renamed_into_place_is_taken_at_once(rig: Rig) -> None:
    copy = rig.add("1.tmp")
    written_s = max(file.stat().st_ctime for file in copy.iterdir()) - time.time()
    rig.age_s = written_s + 2.5
    rig.watch(rig.model())
    await rig.look()

    copy.rename(copy.with_name("1"))

    assert await rig.look() == {1: "1"}


@pytest.mark.asyncio
async def test_times_that_a_copy_took_over_from_the_original_deceive_nobody(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    os.utime(path / "saved_model.pb", (0, 0))
    rig.watch(rig.model())

    assert await rig.look() == {}


@pytest.mark.asyncio
async def test_the_versions_that_are_complete_are_chosen_from_meanwhile(rig: Rig) -> None:
    rig.add("1")
    rig.watch(rig.model(policy=LatestVersions()))
    await rig.look()
    rig.age_s = YOUNG_S

    rig.add("2")

    assert (await rig.look(), await rig.look()) == ({1: "1"}, {2: "2"})


@pytest.mark.asyncio
async def test_a_version_that_was_taken_stays_when_something_is_written_into_it(rig: Rig) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    rig.age_s = YOUNG_S

    (path / "notes.txt").write_text("who made it")

    assert await rig.look() == {1: "1"}


@pytest.mark.asyncio
async def test_being_written_is_a_problem_of_its_own(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")
    rig.watch(rig.model())

    await rig.look()

    assert isinstance(rig.source.problem("mnist"), Unavailable)


@pytest.mark.asyncio
async def test_a_version_that_left_has_to_settle_again_when_it_comes_back(rig: Rig) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    path.rename(rig.folder / "away")
    await rig.look()
    rig.age_s = YOUNG_S

    rig.add("1")

    assert (await rig.look(), await rig.look()) == ({}, {1: "1"})


# Versions that failed


@pytest.mark.asyncio
async def test_a_failed_version_is_offered_as_it_was_while_its_files_stay(rig: Rig) -> None:
    rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    revision = rig.target.revisions["mnist:1"]

    rig.failed.add(ServableId("mnist", 1))
    await rig.look()

    assert rig.target.revisions["mnist:1"] == revision


@pytest.mark.asyncio
async def test_a_failed_version_is_offered_anew_when_its_files_have_changed(rig: Rig) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    revision = rig.target.revisions["mnist:1"]

    rig.failed.add(ServableId("mnist", 1))
    (path / "saved_model.pb").write_text("a better model")
    await rig.look()

    assert rig.target.revisions["mnist:1"] != revision


@pytest.mark.asyncio
async def test_a_failed_version_is_offered_as_it_was_until_its_files_have_settled(
    rig: Rig,
) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    revision = rig.target.revisions["mnist:1"]

    rig.failed.add(ServableId("mnist", 1))
    rig.age_s = YOUNG_S
    (path / "saved_model.pb").write_text("a better model")
    aspired = await rig.look()
    while_it_was_written = rig.target.revisions["mnist:1"]
    await rig.look()

    assert aspired == {1: "1"}
    assert while_it_was_written == revision
    assert rig.target.revisions["mnist:1"] != revision


@pytest.mark.asyncio
async def test_a_failed_version_and_a_new_one_that_are_written_together_both_have_to_settle(
    rig: Rig,
) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    revision = rig.target.revisions["mnist:1"]

    rig.failed.add(ServableId("mnist", 1))
    rig.age_s = YOUNG_S
    (path / "saved_model.pb").write_text("a better model")
    rig.add("2")
    aspired = await rig.look()

    assert aspired == {1: "1"}
    assert rig.target.revisions["mnist:1"] == revision


@pytest.mark.asyncio
async def test_files_of_a_version_that_works_are_not_read_again(rig: Rig) -> None:
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    revision = rig.target.revisions["mnist:1"]

    (path / "saved_model.pb").write_text("a better model")
    await rig.look()

    assert rig.target.revisions["mnist:1"] == revision


# Which models are watched


@pytest.mark.asyncio
async def test_a_model_that_is_no_longer_watched_loses_its_versions_at_once(rig: Rig) -> None:
    rig.add("1")
    rig.watch(rig.model())
    await rig.look()

    rig.watch()

    assert rig.target.aspired == {"mnist": {}}


@pytest.mark.asyncio
async def test_a_model_that_is_no_longer_watched_is_not_looked_at(rig: Rig) -> None:
    rig.add("1")
    rig.watch(rig.model())
    rig.watch()
    rig.target.calls = 0

    await rig.look()

    assert rig.target.calls == 0


@pytest.mark.asyncio
async def test_a_new_base_path_keeps_the_versions_until_it_has_been_looked_at(rig: Rig) -> None:
    rig.add("1")
    rig.add("2", model="other")
    rig.watch(rig.model())
    await rig.look()

    rig.watch(ModelConfig(name="mnist", base_path=str(rig.folder / "other")))
    before = dict(rig.target.aspired["mnist"])

    assert (before, await rig.look()) == ({1: "1"}, {2: "2"})


@pytest.mark.asyncio
async def test_going_back_to_an_earlier_watch_aspires_to_what_was_found_then(rig: Rig) -> None:
    rig.add("1", "2")
    rig.add("3", model="other")
    rig.watch(rig.model(policy=LatestVersions()), rig.model("missing"))
    await rig.look()

    before = rig.watch(ModelConfig(name="mnist", base_path=str(rig.folder / "other")))
    await rig.look()
    rig.source.watch_again(before)

    assert rig.target.aspired == {"mnist": {2: "2"}, "missing": {}}


@pytest.mark.asyncio
async def test_going_back_to_an_earlier_watch_drops_what_came_after_it(rig: Rig) -> None:
    rig.add("1")
    rig.add("1", model="iris")
    rig.watch(rig.model())
    await rig.look()

    before = rig.watch(rig.model(), rig.model("iris"))
    await rig.look()
    rig.source.watch_again(before)

    assert rig.target.aspired == {"mnist": {1: "1"}, "iris": {}}


# Looking again and again


@pytest.mark.asyncio
async def test_base_paths_are_looked_at_once_in_every_period(rig: Rig) -> None:
    rig.watch(rig.model())
    running = asyncio.create_task(rig.source.run())

    await rig.sleep.until_asleep()
    rig.add("1")
    rig.sleep.wake()
    await rig.sleep.until_asleep()
    running.cancel()

    assert rig.target.aspired == {"mnist": {1: "1"}}
    assert rig.sleep.naps == [30, 30]


@pytest.mark.asyncio
async def test_they_are_looked_at_more_often_while_something_is_being_written(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")
    rig.watch(rig.model())
    running = asyncio.create_task(rig.source.run())

    for _ in range(2):
        await rig.sleep.until_asleep()
        rig.sleep.wake()
    await rig.sleep.until_asleep()
    running.cancel()

    assert rig.sleep.naps == [30, 0.25, 30]


@pytest.mark.asyncio
async def test_they_are_not_when_what_was_being_written_has_been_taken_away(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    rig.watch(rig.model())
    await rig.look()
    running = asyncio.create_task(rig.source.run())

    await rig.sleep.until_asleep()
    path.parent.rename(rig.folder / "away")
    rig.sleep.wake()
    await rig.sleep.until_asleep()
    running.cancel()

    assert rig.sleep.naps == [0.25, 30]


@pytest.mark.asyncio
async def test_a_look_that_fails_is_logged_and_followed_by_others(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.add("1")
    rig.watch(rig.model())

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(rig.target, "set_aspired_versions", fail)
        running = asyncio.create_task(rig.source.run())
        await rig.sleep.until_asleep()
        rig.sleep.wake()
        await rig.sleep.until_asleep()
    rig.sleep.wake()
    await rig.sleep.until_asleep()
    running.cancel()

    assert "looking for versions failed" in caplog.text
    assert rig.target.aspired == {"mnist": {1: "1"}}


async def _look_with_a_lost_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Rig, threading.Event]:
    rig = Rig(tmp_path, answer_within_s=0.05)
    for name in ("lost", "near"):
        rig.add("1", model=name)
    answers = threading.Event()

    def find(base_path: Path) -> dict[int, Path]:
        if base_path.name == "lost":
            assert answers.wait(8)
        return find_versions(base_path)

    monkeypatch.setattr("sigrun.servables.source.find_versions", find)
    rig.watch(rig.model("lost"), rig.model("near"))
    await rig.source.look()
    return rig, answers


@pytest.mark.asyncio
async def test_a_base_path_that_does_not_answer_keeps_no_other_model_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, answers = await _look_with_a_lost_file_system(tmp_path, monkeypatch)

    assert rig.target.aspired == {"near": {1: "1"}}
    assert "does not answer" in str(rig.source.problem("lost"))
    answers.set()


@pytest.mark.asyncio
async def test_a_base_path_that_answers_late_is_found_by_a_later_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, answers = await _look_with_a_lost_file_system(tmp_path, monkeypatch)

    answers.set()
    while rig.source.problem("lost"):
        await rig.source.look()

    assert rig.target.aspired == {"near": {1: "1"}, "lost": {1: "1"}}
