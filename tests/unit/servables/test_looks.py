"""One look after the other at a real folder, with the times and loads that the test says."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from sigrun.config.models import (
    AllVersions,
    LatestVersions,
    ModelConfig,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.errors import InvalidArgument, NotFound, Unavailable
from sigrun.servables.looks import COMPARED_FOR_S, Loads, Look, Looker, Memory

OLD_S = 3600.0
# By the looker's clock files lie in the future, so that no delay of a test makes them old.
YOUNG_S = -3600.0
VOCABULARY = Path("assets", "vocab.txt")


class Rig:
    """Looks at `folder/mnist`. `age_s` is how old all files are, at least."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mnist"
        self.now = 100.0
        self.age_s = OLD_S
        self.loads = Loads()
        self.model = ModelConfig(
            name="mnist", base_path=str(self.folder), version_policy=AllVersions()
        )
        self.memory = Memory()

    def add(self, *names: str) -> Path:
        """Put versions of these names under the base path; return the last one."""
        for name in names:
            path = self.folder / name
            path.mkdir(parents=True)
            (path / "saved_model.pb").write_text("a model")
        return path

    def asks_for(self, policy: VersionPolicy, **labels: int) -> None:
        self.model = ModelConfig(
            name="mnist",
            base_path=str(self.folder),
            version_policy=policy,
            version_labels=labels,
        )

    def look(self, after_s: float = 1.0) -> Look:
        self.now += after_s
        looker = Looker(
            model=self.model,
            loads=self.loads,
            now=self.now,
            wall_now=time.time() + self.age_s,
            quiet_s=2.0,
        )
        look = looker.look(self.memory)
        self.memory = look.memory
        return look

    def chosen(self, after_s: float = 1.0) -> dict[int, str] | None:
        """Look, and return the folders of the versions that are chosen."""
        chosen = self.look(after_s).chosen
        return None if chosen is None else {v: offer.path.name for v, offer in chosen.items()}

    def count(self, after_s: float = 1.0) -> int:
        """Look, and return how often version 1 has been offered."""
        return (self.look(after_s).chosen or {})[1].count


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# Which versions are chosen


@pytest.mark.parametrize(
    ("policy", "chosen"),
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
def test_the_version_policy_chooses(rig: Rig, policy: VersionPolicy, chosen: set[int]) -> None:
    rig.add("1", "003", "10")
    rig.asks_for(policy)

    assert set(rig.chosen() or ()) == chosen


def test_a_version_that_a_label_names_stays_next_to_the_latest(rig: Rig) -> None:
    rig.add("1", "2", "3")
    rig.asks_for(LatestVersions(), production=1)

    assert rig.chosen() == {1: "1", 3: "3"}


def test_a_label_adds_nothing_to_versions_that_are_listed(rig: Rig) -> None:
    rig.add("1", "2")
    rig.asks_for(SpecificVersions(frozenset({2})), production=1)

    assert rig.chosen() == {2: "2"}


def test_each_version_comes_with_its_own_path(rig: Rig) -> None:
    rig.add("1", "002")

    assert rig.chosen() == {1: "1", 2: "002"}


def test_versions_that_come_and_go_are_followed(rig: Rig) -> None:
    first = rig.add("1")
    rig.look()

    first.rename(first.with_name("gone"))
    rig.add("2")

    assert rig.chosen() == {2: "2"}


def test_folders_of_the_same_version_are_told_of(rig: Rig) -> None:
    rig.add("1", "01")

    look = rig.look()

    assert [*look.notices.values()] == [
        f"{rig.folder}/1 and {rig.folder}/01 are the same version of servable mnist: 1 is served"
    ]


def test_a_saved_model_without_a_version_is_served_and_told_of(rig: Rig) -> None:
    rig.folder.mkdir()
    (rig.folder / "saved_model.pb").write_text("a model")

    look = rig.look()

    assert set(look.chosen or ()) == {1}
    assert "is a SavedModel itself, and is served as version 1" in "".join(look.notices.values())


# Base paths that are missing or empty


def test_a_base_path_that_is_missing_says_nothing_about_the_versions(rig: Rig) -> None:
    look = rig.look()

    assert look.chosen is None
    assert isinstance(look.problem, InvalidArgument)
    assert str(look.problem).startswith(
        f"Could not find base path {rig.folder} for servable mnist with error "
    )


def test_a_base_path_that_comes_back_needs_not_settle_again(rig: Rig) -> None:
    rig.add("1")
    rig.look()
    away = rig.folder.rename(rig.folder.with_name("away"))
    rig.look()
    rig.age_s = YOUNG_S

    away.rename(rig.folder)

    assert rig.chosen() == {1: "1"}


def test_a_base_path_that_no_file_system_could_have_is_missing_too(rig: Rig) -> None:
    rig.model = ModelConfig(name="mnist", base_path="/with\0zero")

    assert isinstance(rig.look().problem, InvalidArgument)


def test_an_empty_base_path_leaves_no_version(rig: Rig) -> None:
    path = rig.add("1")
    rig.look()

    path.rename(path.with_name("gone"))
    look = rig.look()

    assert look.chosen == {}
    assert isinstance(look.problem, NotFound)
    assert str(look.problem) == (
        f"No versions of servable mnist found under base path {rig.folder}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


def test_a_policy_that_wants_none_of_the_versions_is_a_problem(rig: Rig) -> None:
    rig.add("1")
    rig.asks_for(SpecificVersions(frozenset({2})))

    look = rig.look()

    assert look.chosen == {}
    assert isinstance(look.problem, NotFound)


def test_a_problem_is_over_when_a_version_is_found(rig: Rig) -> None:
    rig.look()

    rig.add("1")

    assert rig.look().problem is None


# Folders that are still written to


def test_old_files_are_taken_at_the_first_look(rig: Rig) -> None:
    rig.add("1")

    assert rig.chosen() == {1: "1"}


@pytest.mark.parametrize(("after_s", "chosen"), [(1.9, None), (2.0, {1: "1"})])
def test_young_files_are_taken_when_they_have_been_the_same_for_two_seconds(
    rig: Rig, after_s: float, chosen: dict[int, str] | None
) -> None:
    rig.age_s = YOUNG_S
    rig.add("1")
    rig.look()

    assert rig.chosen(after_s) == chosen


def test_a_copy_that_pauses_within_a_file_is_not_complete(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1") / VOCABULARY
    path.parent.mkdir()
    path.write_text("half of ")
    rig.look()

    during_the_pause = rig.chosen(1.5)
    path.write_text("half of the words, and the other half")

    assert (during_the_pause, rig.chosen(1.0), rig.chosen(2.0)) == (None, None, {1: "1"})


def test_what_is_written_last_is_named(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")

    look = rig.look()

    reason = f"version 1 in {path} is being written, last saved_model.pb"
    assert look.settling == {1: reason}
    assert isinstance(look.problem, Unavailable)
    assert reason in str(look.problem)


def test_a_folder_that_has_just_been_made_is_young_though_its_files_are_old(rig: Rig) -> None:
    path = rig.add("1")
    (path / "variables").mkdir()
    made_s = (path / "variables").stat().st_mtime - time.time()
    rig.age_s = made_s + 1.0
    for file in (path, path / "saved_model.pb"):
        os.utime(file, (0, 0))

    assert rig.chosen() is None


def test_a_folder_that_is_renamed_into_place_is_taken_at_once(rig: Rig) -> None:
    copy = rig.add("1.tmp")
    written_s = max(file.stat().st_ctime for file in copy.iterdir()) - time.time()
    rig.age_s = written_s + 2.5
    rig.look()

    copy.rename(copy.with_name("1"))

    assert rig.chosen() == {1: "1"}


def test_times_that_a_copy_took_over_from_the_original_deceive_nobody(rig: Rig) -> None:
    rig.age_s = YOUNG_S
    path = rig.add("1")
    os.utime(path / "saved_model.pb", (0, 0))

    assert rig.chosen() is None


def test_the_versions_that_are_complete_are_chosen_from_meanwhile(rig: Rig) -> None:
    rig.add("1")
    rig.asks_for(LatestVersions())
    rig.look()
    rig.age_s = YOUNG_S

    rig.add("2")

    assert (rig.chosen(), rig.chosen(2.0)) == ({1: "1"}, {2: "2"})


def test_while_all_that_is_there_is_being_written_what_was_served_is_kept(rig: Rig) -> None:
    path = rig.add("1")
    rig.look()
    rig.age_s = YOUNG_S

    path.rename(path.with_name("gone"))
    rig.add("2")

    assert rig.chosen() is None


def test_a_link_that_leads_nowhere_keeps_no_version_from_being_served(rig: Rig) -> None:
    path = rig.add("1")
    (path / "README").symlink_to("/nowhere/README")

    assert rig.chosen() == {1: "1"}


def test_a_version_that_left_has_to_settle_again_when_it_comes_back(rig: Rig) -> None:
    path = rig.add("1")
    rig.look()
    path.rename(rig.folder.with_name("away"))
    rig.look()
    rig.age_s = YOUNG_S

    rig.add("1")

    assert (rig.chosen(), rig.chosen(2.0)) == (None, {1: "1"})


def test_a_version_that_vanishes_while_it_is_looked_at_is_not_chosen(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.add("1", "2")

    def read(path: Path, _: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(path / "saved_model.pb"))

    monkeypatch.setattr("sigrun.servables.folders.read_revision", read)
    look = rig.look()

    assert look.chosen is None
    assert set(look.settling) == {1, 2}
    assert "cannot be read" in look.settling[1]


# Versions that failed


def test_a_failed_version_is_offered_as_it_was_while_its_files_stay(rig: Rig) -> None:
    rig.add("1")
    before = rig.look().chosen or {}
    rig.loads = Loads(failed=frozenset({1}))

    after = rig.look().chosen or {}

    assert after[1].revision == before[1].revision


def test_a_failed_version_is_offered_anew_when_its_files_have_changed(rig: Rig) -> None:
    path = rig.add("1")
    before = rig.look().chosen or {}
    rig.loads = Loads(failed=frozenset({1}))

    (path / "saved_model.pb").write_text("a better model")
    after = rig.look().chosen or {}

    assert not after[1].revision.is_like(before[1].revision)


def test_a_failed_version_is_offered_as_it_was_until_its_files_have_settled(rig: Rig) -> None:
    path = rig.add("1")
    before = rig.look().chosen or {}
    rig.loads, rig.age_s = Loads(failed=frozenset({1})), YOUNG_S

    (path / "saved_model.pb").write_text("a better model")
    meanwhile = rig.look()
    after = rig.look(2.0).chosen or {}

    assert (meanwhile.chosen or {})[1].revision == before[1].revision
    assert "is being written again, last saved_model.pb" in meanwhile.settling[1]
    assert not after[1].revision.is_like(before[1].revision)


# Versions that change after they were offered


def loaded(rig: Rig) -> Path:
    """Serve version 1, and let its files look young from now on; return its folder."""
    path = rig.add("1")
    rig.look()
    rig.look(0)  # by now it has been loaded
    rig.age_s = YOUNG_S
    return path


def test_a_version_is_offered_once_while_its_files_stay(rig: Rig) -> None:
    loaded(rig)

    assert {rig.count(seconds) for seconds in (1, 10, 100, 1000)} == {1}


def test_a_version_whose_files_change_soon_after_the_load_is_offered_again(rig: Rig) -> None:
    path = loaded(rig)

    (path / "saved_model.pb").write_text("a model, and the rest of it")

    assert (rig.count(), rig.count(), rig.count(2.0)) == (1, 1, 2)


def test_a_version_whose_files_change_while_it_loads_is_offered_again(rig: Rig) -> None:
    path = rig.add("1")
    rig.loads = Loads(loading=frozenset({1}))
    rig.look()
    rig.age_s = YOUNG_S
    rig.look(10 * COMPARED_FOR_S)

    (path / "saved_model.pb").write_text("a model, and the rest of it")

    assert (rig.count(), rig.count(2.0)) == (1, 2)


def test_a_version_is_compared_for_a_while_after_a_long_load(rig: Rig) -> None:
    path = rig.add("1")
    rig.loads = Loads(loading=frozenset({1}))
    rig.look()
    rig.look(10 * COMPARED_FOR_S)
    rig.loads, rig.age_s = Loads(), YOUNG_S
    rig.look()

    (path / "saved_model.pb").write_text("a model, and the rest of it")

    assert (rig.count(10.0), rig.count(2.0)) == (1, 2)


def test_a_version_that_is_overwritten_later_is_told_of_and_left(rig: Rig) -> None:
    path = loaded(rig)
    rig.look(COMPARED_FOR_S)

    (path / "saved_model.pb").write_text("another model")
    look = rig.look(60.0)

    offer = (look.chosen or {})[1]
    assert (offer.count, offer.change) == (1, "saved_model.pb")
    assert "version 1 of servable mnist has been overwritten since it was loaded" in "".join(
        look.notices.values()
    )


def test_a_change_that_is_taken_back_is_forgotten(rig: Rig) -> None:
    path = loaded(rig)
    rig.look(COMPARED_FOR_S)
    (path / "notes.txt").write_text("who made it")
    rig.look(60.0)

    (path / "notes.txt").unlink()
    look = rig.look(60.0)

    assert (look.chosen or {})[1].change == ""


def test_a_version_that_keeps_changing_is_offered_a_few_times_at_most(rig: Rig) -> None:
    path = loaded(rig)

    for size in range(2, 20):
        (path / "log").write_text("x" * size)
        rig.look(2.0)
        rig.look(2.0)

    assert rig.count() == 4


def test_another_folder_of_the_same_version_is_offered_whenever_it_comes(rig: Rig) -> None:
    path = rig.add("01")
    rig.look()
    rig.look(10 * COMPARED_FOR_S)

    shutil.copytree(path, rig.folder / "1")

    assert rig.chosen() == {1: "1"}


def test_files_are_compared_ever_more_rarely(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(rig)
    reads: list[float] = []

    def read(path: Path, _: object) -> None:
        reads.append(rig.now)
        raise FileNotFoundError

    start = rig.now
    monkeypatch.setattr("sigrun.servables.folders.read_revision", read)
    for _ in range(1000):
        rig.look(1.0)

    assert sum(at - start <= 10 for at in reads) == 10
    assert sum(at - start > 900 for at in reads) == 4
