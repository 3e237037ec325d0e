from __future__ import annotations

import asyncio
import threading

import pytest

from sigrun.concurrency.daemons import DaemonThreads

pytestmark = pytest.mark.asyncio


async def test_a_call_returns_what_it_returns_in_a_thread() -> None:
    thread = await DaemonThreads("look").run(threading.current_thread)

    assert thread.name == "look"
    assert thread.daemon


async def test_a_call_raises_what_it_raises() -> None:
    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError, match="by zero"):
        await DaemonThreads("look").run(fail, "by zero")


async def test_one_call_after_the_other_has_the_same_thread() -> None:
    threads = DaemonThreads("look")

    first, second = [await threads.run(threading.get_ident) for _ in range(2)]

    assert first == second


async def test_a_call_that_hangs_keeps_no_thread_from_the_others() -> None:
    threads, release = DaemonThreads("look"), threading.Event()
    hanging = [asyncio.create_task(threads.run(release.wait, 8)) for _ in range(50)]

    assert await asyncio.wait_for(threads.run(divmod, 7, 3), 5) == (2, 1)

    release.set()
    assert all(await asyncio.gather(*hanging))


async def test_a_caller_that_is_cancelled_does_not_wait_for_the_call() -> None:
    release, ended = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(8)
        ended.set()

    calling = asyncio.create_task(DaemonThreads("look").run(hang))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    had_ended = ended.is_set()
    release.set()

    assert not had_ended
    assert ended.wait(8)


async def test_threads_end_when_they_are_closed() -> None:
    threads, release = DaemonThreads("look"), threading.Event()
    idle = await threads.run(threading.current_thread)

    def hang() -> threading.Thread:
        release.wait(8)
        return threading.current_thread()

    hanging = [asyncio.create_task(threads.run(hang)) for _ in range(2)]
    await asyncio.sleep(0)
    threads.close()
    release.set()
    busy = await asyncio.gather(*hanging)

    for thread in (idle, *busy):
        thread.join(8)
    assert not any(thread.is_alive() for thread in (idle, *busy))
