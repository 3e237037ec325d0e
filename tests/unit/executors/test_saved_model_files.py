"""Files that are not what they seem are refused before TensorFlow reads them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sigrun.errors import InvalidArgument, PermissionDenied
from sigrun.executors.saved_model.files import check_files

NOBODY = 65534


@pytest.fixture
def path() -> Iterator[Path]:
    """Give a directory with the files of a SavedModel, where others may look."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        for folder in ("variables", "assets"):
            (path / folder).mkdir()
        for file in ("saved_model.pb", "variables/variables.index", "assets/vocabulary.txt"):
            (path / file).write_bytes(b"some")
        yield path


@contextmanager
def not_as_root() -> Iterator[None]:
    """Be somebody whom permissions bind."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_regular_files_are_taken_and_links_to_them(path: Path) -> None:
    (path / "saved_model.pb").rename(path / "elsewhere")
    (path / "saved_model.pb").symlink_to(path / "elsewhere")

    check_files(str(path))


@pytest.mark.parametrize("there", ["", "saved_model.pb"])
def test_what_is_missing_is_left_to_others(there: str, tmp_path: Path) -> None:
    check_files(str(tmp_path / there))


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "assets/vocabulary.txt"]
)
def test_a_pipe_is_refused(name: str, path: Path) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)

    with pytest.raises(InvalidArgument, match=f"{name} is no regular file"):
        check_files(str(path))


def test_a_graph_larger_than_any_message_is_refused(path: Path) -> None:
    with (path / "saved_model.pb").open("wb") as file:
        file.truncate(3 * 2**30)  # sparse: it takes no room

    with pytest.raises(InvalidArgument, match="has 3221225472 bytes, more than a protobuf message"):
        check_files(str(path))


@pytest.mark.parametrize("name", ["saved_model.pb", "variables", "variables/variables.index"])
def test_what_may_not_be_read_is_told_so(name: str, path: Path) -> None:
    mode = (path / name).stat().st_mode
    (path / name).chmod(0)

    try:
        with not_as_root(), pytest.raises(PermissionDenied, match=f"{name}.* cannot be read: "):
            check_files(str(path))
    finally:
        (path / name).chmod(mode)
