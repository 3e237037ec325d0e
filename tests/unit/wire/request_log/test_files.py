from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.config.request_log import LogKind, RequestLogLimits
from sigrun.wire.request_log.files import LogFiles


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def log(folder: Path, clock: Clock, **limits: float) -> LogFiles:
    bounds = RequestLogLimits(**{"max_file_bytes": 10, "max_total_bytes": 30, **limits})  # type: ignore[arg-type]
    return LogFiles(str(folder / "m"), LogKind.TF_RECORD, bounds, name="7", clock=clock)


def test_a_file_that_is_full_is_followed_by_another(tmp_path: Path) -> None:
    files = log(tmp_path / "new", Clock())

    for record in (b"12345", b"67890", b"a"):
        files.write(record)
    files.close()

    contents = [(tmp_path / "new" / name).read_bytes() for name in files_of(tmp_path / "new")]
    assert contents == [b"1234567890", b"a"]


def test_a_file_that_is_old_is_ended(tmp_path: Path) -> None:
    clock = Clock()
    files = log(tmp_path, clock, max_file_age_s=60)
    files.write(b"1")
    for clock.now in (Clock.now + 59, Clock.now + 60):
        files.close_if_old()
        files.write(b"2")
    files.close()

    contents = [(tmp_path / name).read_bytes() for name in files_of(tmp_path)]
    assert contents == [b"12", b"2"]


def test_the_oldest_files_make_room_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m.notes").write_bytes(b"x" * 100)
    (tmp_path / "m2.20260101T000000Z-7-1.tfrecord").write_bytes(b"x" * 100)
    files = log(tmp_path, Clock())

    for number in range(5):
        files.write(b"%d" % number * 10)
    files.close()

    kept = [(tmp_path / name).read_bytes() for name in files_of(tmp_path) if "-7-" in name]
    assert kept[:3] == [b"2" * 10, b"3" * 10, b"4" * 10]
    assert {"m.notes", "m2.20260101T000000Z-7-1.tfrecord"} <= {*files_of(tmp_path)}


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OSError, match="file"):
        log(tmp_path / "file", Clock()).write(b"1")
