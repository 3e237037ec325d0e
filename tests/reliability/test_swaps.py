"""New versions take over under load, again and again: nothing fails, nothing is wrong, and no
memory stays behind."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import MakeBasePath, SavedModel
from tests.e2e.process import RunningServer, running_server
from tests.reliability.callers import Tally, call_grpc, call_http
from tests.reliability.conftest import IS_LONG, resident_bytes
from tests.wire.clients import NAME

pytestmark = pytest.mark.asyncio

CALLERS = 32 if IS_LONG else 8
SWAPS = 100 if IS_LONG else 3
SETTLED_SWAPS = 10  # after which memory is compared: buffers and arenas have grown by then
MOST_GROWTH = 1.15
FLAGS = ["--file_system_poll_wait_seconds=1", "--version_settle_seconds=0.2"]

KINDS = ("half_plus_three", "half_plus_two")  # of even versions and of odd ones
ANSWERS = ([3.5], [2.5])


def is_right(version: int | None, values: list[float]) -> bool:
    return values in ANSWERS if version is None else values == ANSWERS[version % 2]


async def test_nothing_fails_while_versions_take_over(
    make_base_path: MakeBasePath, saved_model: SavedModel
) -> None:
    base_path = make_base_path({1: KINDS[1]})
    with running_server(str(base_path), f"--model_name={NAME}", *FLAGS) as server:
        tally, end = Tally(), asyncio.Event()
        callers = [
            asyncio.create_task(
                call_http(server.http_port, tally, end, is_right)
                if number % 2
                else call_grpc(server.grpc_address, tally, end, is_right)
            )
            for number in range(CALLERS)
        ]
        began = time.monotonic()
        before = after = 0
        for version in range(2, SWAPS + 2):
            await swap(server, base_path, saved_model(KINDS[version % 2]), version)
            after = resident_bytes(server.process.pid)
            if version <= SETTLED_SWAPS:
                before = max(before, after)
        took_s = time.monotonic() - began
        end.set()
        await asyncio.gather(*callers)
        states = server.states(NAME)
        log = server.log_text()

    print(
        f"{SWAPS} swaps in {took_s:.0f} s under {CALLERS} callers: {tally.answered} answered, "
        f"{sum(tally.lost.values())} lost, {tally.wrong} wrong; RSS {before >> 20} MiB after the "
        f"first {min(SWAPS, SETTLED_SWAPS)}, {after >> 20} MiB at the end"
    )
    assert tally.are_all_accounted_for, (tally, log)
    assert tally.answered > CALLERS * SWAPS
    assert states[SWAPS + 1] == "AVAILABLE"
    assert after < MOST_GROWTH * before


async def swap(server: RunningServer, base_path: Path, source: Path, version: int) -> None:
    """Put a version there whole, wait until it alone is served, and take the old one away."""
    shutil.copytree(source, base_path / "incoming")
    (base_path / "incoming").rename(base_path / str(version))
    async with asyncio.timeout(60):
        while True:
            states = await asyncio.to_thread(server.states, NAME)
            if states.get(version) == "AVAILABLE" and states.get(version - 1) in ("END", None):
                break
            await asyncio.sleep(0.05)
    shutil.rmtree(base_path / str(version - 1))
