"""The files of a SavedModel, looked at before TensorFlow reads them.

In: a directory. Out: nothing, or an error that names the file. TensorFlow waits for ever on a
pipe that nobody writes to, takes memory for whatever a file's size is, and calls a directory
that it may not read missing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sigrun.errors import InvalidArgument, PermissionDenied

_GRAPHS = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb", "fingerprint.pb")
_FOLDERS = ("variables", "assets")
_MAX_GRAPH_BYTES = 2**31 - 1  # no protobuf message is larger


def check_files(path: str) -> None:
    """Raise unless what is to be read below `path` is of regular files that can be read.

    Raises `InvalidArgument` or `PermissionDenied`. What is missing is not looked for.
    """
    try:
        for file in _files(Path(path)):
            _check(file)
    except PermissionError as error:
        raise PermissionDenied(f"{error.filename} cannot be read: {error.strerror}") from None


def _files(path: Path) -> Iterator[Path]:
    yield from (path / name for name in _GRAPHS)
    for name in _FOLDERS:
        if (path / name).is_dir():
            for folder, _, files in os.walk(path / name, onerror=_raise):
                yield from (Path(folder, file) for file in files)


def _raise(error: OSError) -> None:
    raise error


def _check(file: Path) -> None:
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(found.st_mode):
        raise InvalidArgument(f"{file} is no regular file")
    if file.name in _GRAPHS and found.st_size > _MAX_GRAPH_BYTES:
        raise InvalidArgument(
            f"{file} has {found.st_size} bytes, more than a protobuf message can have"
        )
    if not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionDenied(f"{file} cannot be read: Permission denied")
