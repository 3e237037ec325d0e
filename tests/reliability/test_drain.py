"""SIGTERM under load: everything that was sent is answered, and the process ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.reliability.callers import Tally, call_grpc, call_http
from tests.reliability.conftest import IS_LONG, Begin, Victim

pytestmark = pytest.mark.asyncio

CALLERS = 32
ROUNDS = 10 if IS_LONG else 1
GRACE_S = 20.0


@pytest.mark.parametrize("batching", [False, True], ids=["alone", "batching"])
@pytest.mark.parametrize("doors", ["grpc", "http", "grpc and http"])
async def test_nothing_that_was_sent_is_lost(begin: Begin, doors: str, batching: bool) -> None:
    answered = 0
    for _ in range(ROUNDS):
        with begin(batching=batching, grace_s=GRACE_S) as server:
            tally, status = await drained_under_load(server, doors)
        assert tally.are_all_accounted_for, (tally, server.log)
        assert status == 0, server.log
        assert tally.answered > CALLERS
        answered += tally.answered
    print(f"{doors}, batching {batching}: {ROUNDS} drains, {answered} answered, 0 lost")


async def drained_under_load(server: Victim, doors: str) -> tuple[Tally, int]:
    tally, end = Tally(), asyncio.Event()
    callers = []
    if "grpc" in doors:
        callers += [call_grpc(server.grpc, tally, end) for _ in range(CALLERS)]
    if "http" in doors:
        callers += [call_http(server.http_port, tally, end) for _ in range(CALLERS)]
    calling = asyncio.gather(*callers)
    while tally.answered < 10 * CALLERS:  # noqa: ASYNC110  # all of them are at it by then
        await asyncio.sleep(0.01)
    status = await asyncio.to_thread(server.stop, GRACE_S + 5)
    await asyncio.wait_for(calling, 30)
    return tally, status
