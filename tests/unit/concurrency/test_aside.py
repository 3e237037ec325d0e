from __future__ import annotations

import asyncio
import threading

import pytest

from sigrun.concurrency.aside import run_aside, start_aside

FAR_S = 60.0
NEAR_S = 0.01


def test_a_call_is_made_in_a_daemon_thread_of_that_name() -> None:
    thread = start_aside(threading.current_thread, name="closing m:1").result(FAR_S)

    assert thread.name == "closing m:1"
    assert thread.daemon


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        start_aside(lambda: 1 // 0, name="aside").result(FAR_S)


@pytest.mark.asyncio
async def test_an_event_loop_waits_for_the_result() -> None:
    assert await run_aside(lambda: 7, name="aside", wait_s=FAR_S) == 7


@pytest.mark.asyncio
async def test_waiting_ends_although_the_call_goes_on() -> None:
    gate, ended = threading.Event(), threading.Event()

    def call() -> None:
        gate.wait(FAR_S)
        ended.set()

    with pytest.raises(TimeoutError):
        await run_aside(call, name="aside", wait_s=NEAR_S)

    assert not ended.is_set()
    gate.set()
    assert await asyncio.to_thread(ended.wait, FAR_S)
