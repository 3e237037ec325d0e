"""The access log is written by a process of its own: what it does not survive costs no request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator

import pytest

from tests.processes import children, is_alive
from tests.reliability.callers import Tally, call_grpc
from tests.reliability.conftest import Begin, Victim, until

pytestmark = pytest.mark.asyncio

CALLERS = 32
WITHIN_S = 30.0
LINE = re.compile(
    r"\S+Z INFO sigrun\.wire\.access_log: grpc tensorflow\.serving\.PredictionService/Predict OK "
    r"by half_plus_two:1 serving_default from [\d.:]+: \d+ bytes in, \d+ bytes out, .* "
    r"\[request \S+\]\n"
)


@contextlib.asynccontextmanager
async def calls(server: Victim) -> AsyncIterator[Tally]:
    """Call until the block ends."""
    tally, end = Tally(), asyncio.Event()
    calling = asyncio.gather(*(call_grpc(server.grpc, tally, end) for _ in range(CALLERS)))
    yield tally
    end.set()
    await asyncio.wait_for(calling, WITHIN_S)


async def has_log_process(server: Victim) -> int:
    """Return its process id."""
    await until(lambda: bool(children(server.process.pid)), "a log process")
    (log_process,) = children(server.process.pid)
    return log_process


async def test_every_request_has_a_line_of_its_own(begin: Begin) -> None:
    with begin(access_log=True) as server:
        async with calls(server) as tally:
            await until(lambda: tally.answered > 50 * CALLERS, "traffic")
        assert await asyncio.to_thread(server.stop) == 0

    lines = [line for line in server.log if "access_log" in line]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert len(lines) == tally.answered
    assert tally.are_all_accounted_for


async def test_a_log_process_that_is_killed_costs_no_request(begin: Begin) -> None:
    with begin(access_log=True) as server:
        async with calls(server) as tally:
            log_process = await has_log_process(server)
            os.kill(log_process, signal.SIGKILL)
            # Until the server notices, a pipe that nobody reads takes lines: they are lost.
            await until(lambda: any("the log process" in line for line in server.log), "its end")
            noticed_at = tally.answered
            await until(lambda: tally.answered > noticed_at + 50 * CALLERS, "traffic")
        assert await asyncio.to_thread(server.stop) == 0

    (said,) = (number for number, line in enumerate(server.log) if "the log process" in line)
    assert "has ended with status -9" in server.log[said]
    after = [line for line in server.log[said:] if LINE.fullmatch(line)]
    assert len(after) >= tally.answered - noticed_at
    assert tally.are_all_accounted_for


async def test_signals_that_everybody_gets_are_not_for_the_log_process(begin: Begin) -> None:
    with begin(access_log=True) as server:
        async with calls(server) as tally:
            log_process = await has_log_process(server)
            await until(lambda: any(map(LINE.fullmatch, server.log)), "a line")  # it has begun
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                os.kill(log_process, number)
            asked = tally.answered
            await until(lambda: tally.answered > asked + 50 * CALLERS, "traffic")
            assert children(server.process.pid) == [log_process]
        assert await asyncio.to_thread(server.stop) == 0

    assert not any("the log process" in line for line in server.log)
    assert sum("access_log" in line for line in server.log) == tally.answered


async def test_the_log_process_ends_with_a_server_that_is_killed(begin: Begin) -> None:
    with begin(access_log=True) as server:
        async with calls(server) as tally:
            log_process = await has_log_process(server)
            await until(lambda: tally.answered > CALLERS, "traffic")
            server.process.kill()

            await until(lambda: not is_alive(log_process), "its end")
