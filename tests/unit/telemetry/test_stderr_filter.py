from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WRITES = """
import os, sys
from sigrun.telemetry.stderr_filter import without_lines

os.write(2, b"noise before\\n")
with without_lines("noise "):
    os.write(2, b"noise at first\\nline\\nno noise \\xff\\n")
    {then}
os.write(2, b"noise after\\n")
"""


def said(then: str) -> tuple[int, bytes]:
    """Return exit status and stderr of a process that does `then` while lines are dropped."""
    command = [sys.executable, "-c", WRITES.format(then=then)]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False)
    return done.returncode, done.stderr


def test_lines_are_dropped_as_long_as_they_are_to_be() -> None:
    assert said("pass") == (0, b"noise before\nline\nno noise \xff\nnoise after\n")


@pytest.mark.parametrize(
    ("then", "status"),
    [("os._exit(3)", 3), ("os.abort()", -signal.SIGABRT)],
)
def test_what_a_process_says_last_is_not_lost(then: str, status: int) -> None:
    last = f"os.write(2, b'Check failed'); {then}"

    assert said(last) == (status, b"noise before\nline\nno noise \xff\nCheck failed")


def test_without_a_process_everything_is_said() -> None:
    program = WRITES.format(then="pass").replace(
        "with without", "sys.executable = '/nowhere'\nwith without"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=True)

    assert done.stderr.count(b"noise at first\n") == 1
