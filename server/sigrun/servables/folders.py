"""Read base paths and version folders: what is there, and whether it can be loaded.

In: paths. Out: the versions under a base path, and the revision of a version, which tells
two states of a folder apart. Everything here blocks, and belongs into a thread.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sigrun.errors import InvalidArgument, PermissionDenied

MAX_ENTRIES = 100_000
"""Files and folders that one look at a model reads; far more than a model consists of."""

_VERSION_NAME = re.compile(r"[0-9]+")
_MAX_VERSION = 2**63 - 1
TFLITE_FILE = "model.tflite"

GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
_MAX_GRAPH_BYTES = 2**31 - 1  # protobuf's own bound on a message
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The versions under a base path. Of each pair in `doubles` the second is ignored."""

    versions: Mapping[int, Path]
    doubles: tuple[tuple[Path, Path], ...] = ()
    is_saved_model: bool = False  # the base path itself, which is version 1 then


def list_versions(base_path: Path) -> Listing:
    """Return the children of `base_path` whose whole name is a number that fits int64.

    Of two with the same number (`001`, `1`) the last in alphabetical order counts, as in
    TensorFlow Serving. Files count too; loading says what is wrong with them. A folder
    without versions that is a SavedModel itself is its own version 1. Raises OSError.
    """
    return listing_of(base_path, sorted(os.listdir(base_path)))


def listing_of(base_path: Path, names: Sequence[str]) -> Listing:
    """Return the versions among `names`, the children of `base_path` in alphabetical order."""
    versions: dict[int, Path] = {}
    ignored: list[Path] = []
    for name in names:
        if not _VERSION_NAME.fullmatch(name) or int(name) > _MAX_VERSION:
            continue
        if int(name) in versions:
            ignored.append(versions[int(name)])
        versions[int(name)] = base_path / name
    if not versions and not {*GRAPH_FILES, TFLITE_FILE}.isdisjoint(names):
        return Listing({1: base_path}, is_saved_model=True)
    doubles = tuple((versions[int(path.name)], path) for path in ignored)
    return Listing(versions, doubles)


@dataclass(frozen=True, slots=True)
class Revision:
    """What a version folder held at one look.

    `files` are names, sizes and times of change. `changed_at`, in `time.time` seconds, is
    the latest change of a file, or of what a folder lists, in it.
    """

    path: str
    files: frozenset[tuple[str, int, int]]
    changed_at: float

    def is_like(self, other: Revision) -> bool:
        """Return whether both say that the same files are in the same place."""
        return self.path == other.path and self.files == other.files

    def newest(self) -> str:
        """Return the name of the file that was changed last."""
        return max(self.files, key=lambda file: file[2])[0] if self.files else "the folder"

    def difference(self, other: Revision) -> str:
        """Return the name of a file that is not the same in both."""
        return min((name for name, _, _ in self.files ^ other.files), default="the folder")


class TooManyEntriesError(OSError):
    """There is more in a folder than can be looked at."""


@dataclass(slots=True)
class Budget:
    """How many entries a look may still read."""

    left: int = field(default=MAX_ENTRIES)

    def spend(self, path: Path) -> None:
        """Count one entry. Raises `TooManyEntriesError` when the budget is used up."""
        self.left -= 1
        if self.left < 0:
            raise TooManyEntriesError(f"there are more than {MAX_ENTRIES} files in {path}")


def read_revision(path: Path, budget: Budget) -> Revision:
    """Return what the version folder at `path` holds now. Raises OSError."""
    files: list[tuple[str, int, int]] = []
    newest = 0
    for name, found in _walk(path):
        budget.spend(path)
        if stat.S_ISDIR(found.st_mode):
            # Renaming a folder changes its ctime, though nothing is written: mtime alone.
            newest = max(newest, found.st_mtime_ns)
            continue
        # A copy may take mtime over from the original; ctime cannot be set.
        changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
        files.append((name, found.st_size, changed_ns))
        newest = max(newest, changed_ns)
    return Revision(str(path), frozenset(files), newest / 1e9)


class Folders(Protocol):
    """Reads base paths and versions where they are."""

    def list_versions(self, base_path: str) -> Listing:
        """Return the versions under a base path. Raises OSError."""

    def read_revision(self, path: Path, budget: Budget) -> Revision:
        """Return what a version holds now. Raises OSError."""


class LocalFolders:
    """Reads the local file system."""

    def list_versions(self, base_path: str) -> Listing:
        """Return the versions under a base path. Raises OSError."""
        return list_versions(Path(base_path))

    def read_revision(self, path: Path, budget: Budget) -> Revision:
        """Return what a version holds now. Raises OSError."""
        return read_revision(path, budget)


LOCAL = LocalFolders()


def check_loadable(path: Path) -> None:
    """Raise a `SigrunError` if something in a version folder cannot be read as a file.

    Opening a named pipe or a device may block for ever, and TensorFlow says of what it may
    not read that it is not there. What is missing is left to whoever loads.
    """
    budget = Budget()
    try:
        for name, found in _walk(path):
            budget.spend(path)
            _check_entry(path / name, found)
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise PermissionDenied(f"{error.filename}: {error.strerror}") from None
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error}") from None


def _check_entry(path: Path, found: os.stat_result) -> None:
    mode = found.st_mode
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise InvalidArgument(f"{path} is {kind}, and only regular files can be loaded")
    is_folder = stat.S_ISDIR(mode)
    wanted = os.R_OK | os.X_OK if is_folder else os.R_OK
    if not stat.S_ISLNK(mode) and not os.access(path, wanted):  # a link that leads nowhere
        what = "folder" if is_folder else "file"
        raise PermissionDenied(f"This server may not read the {what} {path}")
    if path.name in GRAPH_FILES and found.st_size > _MAX_GRAPH_BYTES:
        raise InvalidArgument(
            f"{path} has {found.st_size} bytes, and a graph cannot have more than 2 GB"
        )


def _walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the name, relative to `path`, of everything in it, `path` itself first.

    Links are followed, and stand for themselves where they lead nowhere. A folder that may
    not be listed is yielded without what it holds. Raises OSError for what vanishes.
    """
    top = os.stat(path)
    yield "", top
    entered = {(top.st_dev, top.st_ino)}  # a link may lead back
    waiting = [""] if stat.S_ISDIR(top.st_mode) else []
    while waiting:
        folder = waiting.pop()
        for entry in _children(path / folder):
            name = os.path.join(folder, entry.name)
            found = _stat(entry)
            yield name, found
            key = (found.st_dev, found.st_ino)
            if stat.S_ISDIR(found.st_mode) and key not in entered:
                entered.add(key)
                waiting.append(name)


def _children(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except PermissionError:
        return


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        if not entry.is_symlink():
            raise
        return entry.stat(follow_symlinks=False)
