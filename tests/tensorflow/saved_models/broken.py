"""Version directories that can't be loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import tutorial


def empty_directory(path: Path) -> None:
    """Make a directory with nothing in it."""
    path.mkdir()


def plain_file(path: Path) -> None:
    """Make a file where a version directory should be."""
    path.write_text("not a directory\n", encoding="utf-8")


def truncated_graph(path: Path) -> None:
    """Write half_plus_two and cut its saved_model.pb in half."""
    tutorial.half_plus_two(path)
    graph = path / "saved_model.pb"
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])


def garbage_graph(path: Path) -> None:
    """Make a saved_model.pb that is no protobuf message."""
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"\xff" * 100)


def missing_variables(path: Path) -> None:
    """Write half_plus_two without its variables folder; loading it raises ValueError."""
    tutorial.half_plus_two(path)
    shutil.rmtree(path / "variables")


def truncated_variables(path: Path) -> None:
    """Write half_plus_two with an empty file of variables' values."""
    tutorial.half_plus_two(path)
    (path / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
