from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

import pytest

from sigrun.telemetry.lines import LineMaker, LogFormat
from sigrun.telemetry.log_process import COMMAND, LogProcess

WITHIN_S = 10.0
PIPE_BYTES = 1024 * 1024
RUN = "from sigrun.telemetry.log_process import main; main()"
MAKER = LineMaker(LogFormat.TEXT, None, "INFO", "sigrun.test", str, json.loads)


def put(process: LogProcess, *texts: str) -> None:
    process.put(MAKER, [(0.0, "", text) for text in texts])


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rpartition(": ")[2] for line in capfd.readouterr().err.splitlines()]


def program(text: str) -> Sequence[str]:
    return sys.executable, "-c", text


def test_events_become_lines_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    process = LogProcess()

    put(process, "first", "second")
    put(process, "third")
    process.flush(WITHIN_S)

    assert said(capfd) == ["first", "second", "third"]


def put_more_than_fits_into_the_pipe(process: LogProcess) -> list[str]:
    put(process, "begin")
    process._output.flush(WITHIN_S)  # there is a process then, which does not read yet
    texts = [f"{number:03}" * 30_000 for number in range(40)]
    for text in texts:
        put(process, text)
    return ["begin", *texts]


def test_a_frame_that_is_cut_where_the_pipe_is_full_stays_whole(
    capfd: pytest.CaptureFixture[str],
) -> None:
    process = LogProcess(command=program(f"import time; time.sleep(0.3); {RUN}"))

    texts = put_more_than_fits_into_the_pipe(process)
    process.flush(WITHIN_S)

    assert said(capfd) == texts
    assert process.dropped == 0


def test_a_frame_of_which_the_process_took_a_part_is_told_when_it_ends(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    process = LogProcess(command=program("import time; time.sleep(0.3); exit(7)"))

    texts = put_more_than_fits_into_the_pipe(process)
    process.flush(WITHIN_S)

    assert "has ended with status 7" in caplog.text
    told = said(capfd)
    lost = PIPE_BYTES // len(texts[-1]) + 1
    assert told == texts[-len(told) :]
    assert len(told) >= len(texts) - lost


def test_what_comes_after_a_flush_is_written_too(capfd: pytest.CaptureFixture[str]) -> None:
    process = LogProcess()

    for text in ("before", "after"):
        put(process, text)
        process.flush(WITHIN_S)

    assert said(capfd) == ["before", "after"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (program("exit(7)"), "has ended with status 7"),
        (["/nowhere/at/all"], "cannot be started"),
        ([*COMMAND[:-1], "sigrun.telemetry.nowhere"], "has ended with status 1"),
    ],
)
def test_without_the_process_lines_are_written_all_the_same(
    command: Sequence[str],
    why: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = LogProcess(command=command)
    handed = 0
    while not caplog.messages:  # until then a pipe takes some that nobody reads
        handed += 1
        put(process, f"{handed}")
        process._output.flush(WITHIN_S)
    put(process, "last")
    process.flush(WITHIN_S)

    (told,) = caplog.messages
    assert why in told
    assert said(capfd)[-2:] == [f"{handed}", "last"]
    assert caplog.records[0].levelno == logging.WARNING


def test_a_process_that_does_not_read_makes_nobody_wait_and_drops_are_counted() -> None:
    dropped: list[int] = []
    process = LogProcess(on_drop=dropped.append, command=program("import time; time.sleep(0.3)"))
    text = "x" * 100_000
    for _ in range(100):
        put(process, text)

    process.flush(0.01)

    assert 50 < process.dropped < 100
    process.flush(WITHIN_S)
    assert dropped[-1] == process.dropped
