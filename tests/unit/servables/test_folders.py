from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sigrun.errors import InvalidArgument, PermissionDenied
from sigrun.servables.folders import (
    Budget,
    Revision,
    TooManyEntriesError,
    check_loadable,
    list_versions,
    read_revision,
)

MAX_INT64 = 2**63 - 1


def add(folder: Path, *names: str) -> Path:
    """Make version folders of these names; return the last one."""
    for name in names:
        path = folder / name
        path.mkdir(parents=True)
        (path / "saved_model.pb").write_text("a model")
    return path


def revision(path: Path) -> Revision:
    return read_revision(path, Budget())


def files(path: Path) -> set[str]:
    return {name for name, _, _ in revision(path).files}


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
def test_a_name_that_is_a_whole_number_is_a_version(
    tmp_path: Path, name: str, version: int
) -> None:
    path = add(tmp_path, name)

    assert list_versions(tmp_path).versions == {version: path}


@pytest.mark.parametrize(
    "name",
    ["v1", "1.tmp", "2.denied", "tmp", "-1", "+1", "1_000", "0x1", "1e3", " 1", "٣", "²"],
)
def test_any_other_name_is_none(tmp_path: Path, name: str) -> None:
    add(tmp_path, name)

    assert list_versions(tmp_path).versions == {}


@pytest.mark.parametrize("name", [str(MAX_INT64 + 1), "9" * 100])
def test_a_number_too_large_for_int64_is_none(tmp_path: Path, name: str) -> None:
    add(tmp_path, name)

    assert list_versions(tmp_path).versions == {}


def test_of_names_of_one_version_the_last_in_the_alphabet_counts(tmp_path: Path) -> None:
    add(tmp_path, "1", "001", "01")

    listing = list_versions(tmp_path)

    assert listing.versions == {1: tmp_path / "1"}
    assert listing.doubles == (
        (tmp_path / "1", tmp_path / "001"),
        (tmp_path / "1", tmp_path / "01"),
    )


def test_a_file_counts_as_a_version(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("not a directory")

    assert list_versions(tmp_path).versions == {1: tmp_path / "1"}


def test_a_base_path_that_is_missing_cannot_be_searched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_versions(tmp_path / "missing")


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_base_path_that_is_a_saved_model_itself_is_its_version_1(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("a model")

    listing = list_versions(tmp_path)

    assert listing.versions == {1: tmp_path}
    assert listing.is_saved_model


def test_versions_count_more_than_a_saved_model_beside_them(tmp_path: Path) -> None:
    path = add(tmp_path, "3")
    (tmp_path / "saved_model.pb").write_text("a model")

    assert list_versions(tmp_path).versions == {3: path}


# Revisions


def test_two_looks_at_the_same_files_find_the_same_revision(tmp_path: Path) -> None:
    path = add(tmp_path, "1")

    assert revision(path) == revision(path)


def test_a_file_that_grows_is_named_as_the_difference(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    (path / "assets").mkdir()
    (path / "assets" / "vocab.txt").write_text("some")
    before = revision(path)

    (path / "assets" / "vocab.txt").write_text("some words")
    after = revision(path)

    assert not after.is_like(before)
    assert after.difference(before) == "assets/vocab.txt"
    assert after.newest() == "assets/vocab.txt"


def test_the_same_files_in_another_place_are_another_revision(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    before = revision(path)

    elsewhere = path.rename(tmp_path / "2")

    assert not revision(elsewhere).is_like(before)


def test_a_folder_without_files_has_a_revision(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()

    found = revision(tmp_path / "1")

    assert found.files == frozenset()
    assert found.changed_at == (tmp_path / "1").stat().st_mtime_ns / 1e9


def test_a_link_that_leads_nowhere_is_a_file(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    (path / ".#lock").symlink_to("somebody@somewhere.1234")
    (path / "loop").symlink_to("loop")

    assert files(path) == {"saved_model.pb", ".#lock", "loop"}


def test_files_behind_a_linked_folder_count(tmp_path: Path) -> None:
    path, store = add(tmp_path, "1"), add(tmp_path, "store")
    (path / "assets").symlink_to(store)

    assert files(path) == {"saved_model.pb", "assets/saved_model.pb"}


def test_a_link_back_into_the_folder_is_not_followed_for_ever(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    (path / "again").symlink_to(path)

    assert files(path) == {"saved_model.pb"}


def test_a_file_that_is_a_version_has_a_revision(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("not a directory")

    assert len(revision(tmp_path / "1").files) == 1


def test_a_folder_with_more_than_can_be_looked_at_is_given_up(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    (path / "more").write_text("a file too many")

    with pytest.raises(TooManyEntriesError, match="more than 100000 files in"):
        read_revision(path, Budget(2))


def test_a_folder_that_vanishes_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        revision(tmp_path / "1")


# What can be loaded


def test_a_folder_of_regular_files_can_be_loaded(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    (path / "variables").mkdir()
    (path / ".#lock").symlink_to("somebody@somewhere.1234")

    check_loadable(path)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to(path.with_name("pipe"))


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (make_pipe, "a named pipe"),
        (make_link_to_pipe, "a named pipe"),
        (make_link_to_device, "a device"),
        (make_socket, "a socket"),
    ],
)
@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", "assets/vocab"])
def test_what_is_no_regular_file_is_refused_and_named(
    tmp_path: Path,
    make: Callable[[Path], None],
    kind: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "1"
    (path / name).parent.mkdir(parents=True)
    monkeypatch.chdir((path / name).parent)
    make(Path(Path(name).name) if make is make_socket else path / name)  # a socket's name is short

    with pytest.raises(InvalidArgument, match=f" is {kind}, and only regular files can be loaded"):
        check_loadable(path)


def test_a_graph_larger_than_a_message_can_be_is_refused(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    os.truncate(path / "saved_model.pb", 3 * 2**30)

    with pytest.raises(InvalidArgument, match="has 3221225472 bytes, and a graph cannot have"):
        check_loadable(path)


def test_large_files_beside_the_graph_are_taken(tmp_path: Path) -> None:
    path = add(tmp_path, "1")
    (path / "variables").mkdir()
    (path / "variables" / "variables.data-00000-of-00001").touch()
    os.truncate(path / "variables" / "variables.data-00000-of-00001", 3 * 2**30)

    check_loadable(path)


@pytest.mark.parametrize(
    ("name", "what"), [("variables", "folder"), ("saved_model.pb", "file"), ("", "folder")]
)
def test_what_may_not_be_read_is_refused_and_named(
    tmp_path: Path, name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(tmp_path, "1")
    (path / "variables").mkdir()
    monkeypatch.setattr("os.access", lambda file, mode: Path(file) != path / name)

    with pytest.raises(PermissionDenied, match=f"may not read the {what} {path / name}"):
        check_loadable(path)


def test_a_folder_that_may_not_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(tmp_path, "1")

    def scandir(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", scandir)
    monkeypatch.setattr("os.access", lambda *_: False)

    with pytest.raises(PermissionDenied):
        check_loadable(path)


def test_a_folder_that_has_vanished_is_left_to_whoever_loads_it(tmp_path: Path) -> None:
    check_loadable(tmp_path / "1")
