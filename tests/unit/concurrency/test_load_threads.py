from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sigrun.concurrency.load_threads import LoadThreads

pytestmark = pytest.mark.asyncio


class Held:
    """A call that does not end before the test says so."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.release.wait(8)
        return "loaded"


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.release.set()


def running(threads: LoadThreads) -> tuple[float, ...]:
    """Return how many there are, run and wait."""
    return tuple(gauge.value for gauge in threads.readings())


async def until_running(threads: LoadThreads, *expected: int) -> None:
    while running(threads) != expected:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0)


async def test_a_load_returns_what_the_call_returns() -> None:
    assert await LoadThreads(1).load(divmod, 7, 3, what="mnist:2") == (2, 1)


async def test_a_load_raises_what_the_call_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        await LoadThreads(1).load(divmod, 7, 0, what="mnist:2")


async def test_so_many_loads_run_at_a_time(held: Held) -> None:
    threads = LoadThreads(1)
    first = asyncio.create_task(threads.load(held, what="mnist:1"))
    await until_running(threads, 1, 1, 0)
    second = asyncio.create_task(threads.load(divmod, 7, 3, what="mnist:2"))

    await until_running(threads, 1, 1, 1)
    held.release.set()

    assert (await first, await second) == ("loaded", (2, 1))
    assert running(threads) == (1, 0, 0)


async def test_a_load_that_takes_long_holds_no_other_up(held: Held) -> None:
    threads = LoadThreads(1, long_s=0.01)
    first = asyncio.create_task(threads.load(held, what="mnist:1"))
    await until_running(threads, 1, 1, 0)

    second = await asyncio.wait_for(threads.load(divmod, 7, 3, what="mnist:2"), 5)

    assert second == (2, 1)
    assert not first.done()
    held.release.set()
    assert await first == "loaded"


async def test_only_so_many_loads_may_take_long_beside_the_others(held: Held) -> None:
    threads = LoadThreads(1, long_s=0.01, max_long=1)
    loads = [asyncio.create_task(threads.load(held, what="mnist:1")) for _ in range(3)]

    await until_running(threads, 1, 2, 1)
    await asyncio.sleep(0.05)
    meanwhile = running(threads)
    held.release.set()

    assert meanwhile == (1, 2, 1)
    assert await asyncio.gather(*loads) == ["loaded"] * 3


async def test_an_unload_waits_for_no_load(held: Held) -> None:
    threads = LoadThreads(1)
    loading = asyncio.create_task(threads.load(held, what="mnist:1"))
    await until_running(threads, 1, 1, 0)

    assert await asyncio.wait_for(threads.unload(divmod, 7, 3), 5) == (2, 1)
    held.release.set()
    await loading


async def test_a_load_whose_caller_leaves_gives_its_place_back(held: Held) -> None:
    threads = LoadThreads(1)
    loading = asyncio.create_task(threads.load(held, what="mnist:1"))
    await until_running(threads, 1, 1, 0)

    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading

    assert await asyncio.wait_for(threads.load(divmod, 7, 3, what="mnist:2"), 5) == (2, 1)
