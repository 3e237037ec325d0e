from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from sigrun.telemetry.helper import Helper, command
from sigrun.telemetry.output import STDERR, write

WITHIN_S = 10.0
PIPE_BYTES = 1024 * 1024


def tell(frames: Iterator[bytes]) -> None:
    for frame in frames:
        write(STDERR, frame.decode().encode() + b"\n")


def program(text: str) -> Sequence[str]:
    return sys.executable, "-c", text


def telling(first: str = "pass") -> Sequence[str]:
    """Return what starts a process that does something first, and then the same as `tell`."""
    return program(
        f"import time\nfrom sigrun.telemetry.helper import serve\n"
        f"from sigrun.telemetry.output import write\n{first}\n"
        'serve(lambda frames: [write(2, frame + b"\\n") for frame in frames], grace_s=10)'
    )


def make(command: Sequence[str], on_drop: Callable[[int], None] = lambda dropped: None) -> Helper:
    return Helper("telling", command, tell, on_drop)


def put(helper: Helper, *texts: str) -> None:
    for text in texts:
        helper.put(text.encode())


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def put_more_than_fits_into_the_pipe(helper: Helper) -> list[str]:
    put(helper, "begin")
    helper._output.flush(WITHIN_S)  # there is a process then, which does not read yet
    texts = [f"{number:03}" * 30_000 for number in range(40)]
    put(helper, *texts)
    return ["begin", *texts]


def test_frames_come_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    helper = make(telling())

    put(helper, "first", "second")
    helper._output.flush(WITHIN_S)
    put(helper, "third")
    helper.flush(WITHIN_S)

    assert said(capfd) == ["first", "second", "third"]


def test_what_comes_after_a_flush_is_done_too(capfd: pytest.CaptureFixture[str]) -> None:
    helper = make(telling())

    for text in ("before", "after"):
        put(helper, text)
        helper.flush(WITHIN_S)

    assert said(capfd) == ["before", "after"]


def test_a_process_can_begin_before_there_is_something_to_do(
    capfd: pytest.CaptureFixture[str],
) -> None:
    helper = make(telling('write(2, b"begun\\n")'))

    helper.begin()
    helper.flush(WITHIN_S)

    assert said(capfd) == ["begun"]


def test_a_frame_that_is_cut_where_the_pipe_is_full_stays_whole(
    capfd: pytest.CaptureFixture[str],
) -> None:
    helper = make(telling("time.sleep(0.3)"))

    texts = put_more_than_fits_into_the_pipe(helper)
    helper.flush(WITHIN_S)

    assert said(capfd) == texts
    assert helper.dropped == 0


def test_a_frame_of_which_the_process_took_a_part_is_done_when_it_ends(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    helper = make(program("import time; time.sleep(0.3); exit(7)"))

    texts = put_more_than_fits_into_the_pipe(helper)
    helper.flush(WITHIN_S)

    assert "the telling process has ended with status 7" in caplog.text
    done = said(capfd)
    lost = PIPE_BYTES // len(texts[-1]) + 1
    assert done == texts[-len(done) :]
    assert len(done) >= len(texts) - lost


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (program("exit(7)"), "has ended with status 7"),
        (["/nowhere/at/all"], "cannot be started"),
        (command("sigrun.telemetry.nowhere"), "has ended with status 1"),
    ],
)
def test_without_the_process_the_work_is_done_all_the_same(
    command: Sequence[str],
    why: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    helper = make(command)
    handed = 0
    while not caplog.messages:  # until then a pipe takes some that nobody reads
        handed += 1
        put(helper, f"{handed}")
        helper._output.flush(WITHIN_S)
    put(helper, "last")
    helper.flush(WITHIN_S)

    (told,) = caplog.messages
    assert why in told
    assert said(capfd)[-2:] == [f"{handed}", "last"]
    assert caplog.records[0].levelno == logging.WARNING


def test_work_that_fails_here_is_said_once_and_the_next_is_done(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    helper = make(["/nowhere/at/all"])

    for _ in range(2):
        helper.put(b"\xff")  # no text
        helper._output.flush(WITHIN_S)
    put(helper, "next")
    helper.flush(WITHIN_S)

    assert said(capfd) == ["next"]
    assert caplog.messages[1:] == ["the work of the telling process failed"]
    assert "UnicodeDecodeError" in caplog.text


def test_a_process_that_does_not_read_makes_nobody_wait_and_drops_are_counted() -> None:
    dropped: list[int] = []
    helper = make(program("import time; time.sleep(0.3)"), dropped.append)
    for _ in range(100):
        put(helper, "x" * 100_000)

    helper.flush(0.01)

    assert 50 < helper.dropped < 100
    helper.flush(WITHIN_S)
    assert dropped[-1] == helper.dropped
