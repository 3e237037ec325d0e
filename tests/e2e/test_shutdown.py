"""A process ends soon after SIGTERM, whatever hangs in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.hanging_server import FOREVER_S, GRACE_S
from tests.e2e.process import ROOT

LEEWAY_S = 5.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("hangs", "works"):
        (tmp_path / name / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.fixture
def process(folder: Path, settle_timeout_s: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.e2e.hanging_server", str(folder), str(settle_timeout_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("settle_timeout_s", "says"),
    [
        pytest.param(FOREVER_S, "hangs\n", id="while it starts"),
        pytest.param(0.5, "serves\n", id="while it serves"),
    ],
)
def test_a_load_that_hangs_does_not_keep_the_process_from_ending(
    process: subprocess.Popen[str], says: str
) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line == says:
            break

    process.send_signal(signal.SIGTERM)
    told_at = time.monotonic()
    status = process.wait(60)

    assert status == 0
    assert time.monotonic() - told_at < GRACE_S + LEEWAY_S


HANGS = {
    "task": (1, "task 'Task-1'"),
    "sleep": (1, "what hangs: thread MainThread in HangingServer.stop (hanging_stop.py:"),
    "thread": (1, "thread stuck in "),
    # No thread of Python's comes to run, and nothing can be said.
    "native": (-signal.SIGALRM, ""),
}


def test_a_stop_that_hangs_is_ended_and_said() -> None:
    with contextlib.ExitStack() as stack:
        processes = {how: stack.enter_context(begin_to_hang(how)) for how in HANGS}
        for process in processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "serves\n"
            process.send_signal(signal.SIGTERM)
        ends = {}
        for how, process in processes.items():
            _, log = process.communicate(timeout=60)
            ends[how] = process.returncode, log

    for how, (status, said) in HANGS.items():
        assert ends[how][0] == status, ends[how]
        assert said in ends[how][1]


def begin_to_hang(how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.hanging_stop", how]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
