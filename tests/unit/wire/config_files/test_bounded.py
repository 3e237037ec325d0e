from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigrun.errors import InvalidArgument
from sigrun.wire.config_files.bounded import read_bounded


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def write(pipe: Path) -> Iterator[threading.Thread]:
    """Return a thread that writes some text into the pipe, in two pieces."""

    def run() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(b"one ")
            file.write(b"two")

    thread = threading.Thread(target=run, daemon=True)
    yield thread
    thread.join(10)


@pytest.mark.parametrize("content", [b"", b"12345678"])
def test_a_file_up_to_the_bound_is_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)

    assert read_bounded(file, 8) == content


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"123456789")

    with pytest.raises(InvalidArgument, match="file is larger than 8 bytes"):
        read_bounded(file, 8)


def test_a_device_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="/dev/zero is larger than 100000 bytes"):
        read_bounded(Path("/dev/zero"), 100_000)


def test_a_device_that_holds_nothing_is_empty() -> None:
    assert read_bounded(Path("/dev/null"), 8) == b""


def test_a_pipe_is_read_to_its_end(pipe: Path, write: threading.Thread) -> None:
    write.start()

    assert read_bounded(pipe, 100) == b"one two"


def test_what_a_command_wrote_before_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"config")
    os.close(writing)
    try:
        assert read_bounded(Path(f"/dev/fd/{reading}"), 100) == b"config"
    finally:
        os.close(reading)


def test_more_than_the_bound_from_a_pipe_is_refused(pipe: Path, write: threading.Thread) -> None:
    write.start()

    with pytest.raises(InvalidArgument, match="larger than 4 bytes"):
        read_bounded(pipe, 4)


def test_a_pipe_into_which_nobody_writes_is_refused(pipe: Path) -> None:
    with pytest.raises(InvalidArgument, match="is a pipe, and its end did not come in"):
        read_bounded(pipe, 8, pipe_wait_s=0.01)


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 8)
