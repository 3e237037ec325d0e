from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from sigrun.concurrency.threads import Limits, ThreadOwner, Threads
from sigrun.errors import DeadlineExceeded, InvalidArgument, Unavailable

FAR_S = 60.0
NEAR_S = 0.01


class Gate:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> str:
        self._entered.set()
        assert self._opened.wait(FAR_S)
        return "through"

    @property
    def has_been_entered(self) -> bool:
        return self._entered.is_set()

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, FAR_S)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def one() -> Iterator[Threads]:
    with Threads(name="runner", count=1, max_waiting=1) as threads:
        yield threads
        threads.close(grace_s=FAR_S)


async def start(threads: Threads, gate: Gate) -> asyncio.Task[str]:
    task = asyncio.create_task(threads.run(gate))
    await gate.entered()
    return task


async def run_past_deadline(threads: Threads | ThreadOwner, gate: Gate) -> None:
    """Run the gate until it has been given up, which may be before it began: then once more."""
    near_s = NEAR_S
    while not gate.has_been_entered:
        near_s *= 2
        with pytest.raises(DeadlineExceeded):
            await threads.run(gate, deadline=time.monotonic() + near_s)


async def wait_in(threads: Threads, count: int) -> None:
    await asyncio.sleep(0)  # the tasks begin, and queue up before they first wait
    assert threads.statistics.waiting == count


@pytest.mark.asyncio
async def test_a_call_answers_what_the_function_returns(one: Threads) -> None:
    assert await one.run(divmod, 7, 2) == (3, 1)


@pytest.mark.asyncio
async def test_a_call_runs_in_a_thread_of_that_name(one: Threads) -> None:
    name = await one.run(lambda: threading.current_thread().name)

    assert name == "runner-0"


@pytest.mark.asyncio
async def test_a_call_raises_what_the_function_raises_and_the_thread_goes_on(one: Threads) -> None:
    def fail() -> None:
        raise InvalidArgument("bad")

    with pytest.raises(InvalidArgument, match="bad"):
        await one.run(fail)

    assert await one.run(str, 1) == "1"


@pytest.mark.asyncio
async def test_as_many_calls_run_at_once_as_there_are_threads() -> None:
    both = threading.Barrier(2)
    with Threads(name="runner", count=2, max_waiting=1) as threads:
        await asyncio.gather(*[threads.run(both.wait, FAR_S) for _ in range(2)])


@pytest.mark.asyncio
async def test_calls_leave_the_queue_in_the_order_in_which_they_came() -> None:
    order: list[int] = []
    gate = Gate()
    with Threads(name="runner", count=1, max_waiting=3) as threads:
        running = await start(threads, gate)
        waiting = [asyncio.create_task(threads.run(order.append, n)) for n in range(3)]
        await wait_in(threads, 3)
        gate.open()
        await asyncio.gather(running, *waiting)

    assert order == [0, 1, 2]


@pytest.mark.asyncio
async def test_one_more_than_may_wait_is_refused_at_once(one: Threads) -> None:
    gate = Gate()
    running = await start(one, gate)
    waiting = asyncio.create_task(one.run(str, 1))
    await wait_in(one, 1)

    with pytest.raises(Unavailable, match="is full: 1 wait for 1 threads, and no more than 1"):
        await one.run(str, 2)

    gate.open()
    assert await running == "through"
    assert await waiting == "1"


@pytest.mark.asyncio
async def test_idle_threads_count_as_room() -> None:
    with Threads(name="runner", count=4, max_waiting=1) as threads:
        answers = await asyncio.gather(*[threads.run(str, n) for n in range(5)])

    assert answers == ["0", "1", "2", "3", "4"]


@pytest.mark.asyncio
async def test_the_place_of_a_call_is_free_when_its_caller_hears_of_the_end() -> None:
    with Threads(name="runner", count=1, max_waiting=0) as threads:
        for n in range(100):
            assert await threads.run(str, n) == str(n)


@pytest.mark.asyncio
async def test_a_deadline_that_has_passed_costs_nothing(one: Threads) -> None:
    calls: list[int] = []

    with pytest.raises(DeadlineExceeded, match=r"^Timed out waiting for notification$"):
        await one.run(calls.append, 1, deadline=time.monotonic())

    await one.run(str, 1)
    assert calls == []


@pytest.mark.asyncio
async def test_who_waits_past_the_deadline_is_told_so_and_leaves_the_queue(one: Threads) -> None:
    calls: list[int] = []
    gate = Gate()
    running = await start(one, gate)

    with pytest.raises(DeadlineExceeded, match="Timed out waiting for notification"):
        await one.run(calls.append, 1, deadline=time.monotonic() + NEAR_S)

    assert one.statistics.waiting == 0
    gate.open()
    await running
    assert calls == []


@pytest.mark.asyncio
async def test_a_call_that_runs_past_the_deadline_keeps_its_thread_until_it_ends(
    one: Threads,
) -> None:
    gate = Gate()

    await run_past_deadline(one, gate)

    assert one.statistics.running == 1
    gate.open()
    assert await one.run(str, 1) == "1"
    assert one.statistics.running == 0


@pytest.mark.asyncio
async def test_a_cancelled_caller_leaves_the_queue(one: Threads) -> None:
    calls: list[int] = []
    gate = Gate()
    running = await start(one, gate)
    waiting = asyncio.create_task(one.run(calls.append, 1))
    await wait_in(one, 1)

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()
    assert one.statistics.waiting == 0
    gate.open()
    await running
    await one.run(str, 1)
    assert calls == []


@pytest.mark.asyncio
async def test_a_running_call_whose_caller_is_cancelled_ends_unobserved(one: Threads) -> None:
    gate = Gate()
    running = await start(one, gate)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gate.open()

    assert running.cancelled()
    assert await one.run(str, 1) == "1"


@pytest.mark.asyncio
async def test_closing_refuses_what_waits_and_what_comes(one: Threads) -> None:
    gate = Gate()
    running = await start(one, gate)
    waiting = asyncio.create_task(one.run(str, 1))
    await wait_in(one, 1)

    one.close()

    with pytest.raises(Unavailable, match="closed"):
        await waiting
    with pytest.raises(Unavailable, match="closed"):
        await one.run(str, 2)
    gate.open()
    assert await running == "through"


def test_a_call_that_outlives_its_event_loop_does_no_harm(one: Threads) -> None:
    gate = Gate()

    async def leave() -> None:
        (await start(one, gate)).cancel()

    asyncio.run(leave())
    gate.open()

    async def come() -> str:
        return await one.run(str, 1)

    assert asyncio.run(come()) == "1"


@pytest.mark.asyncio
async def test_what_a_failed_call_held_is_let_go_without_garbage_collection(one: Threads) -> None:
    class Held:
        pass

    seen: list[weakref.ref[Held]] = []

    def fail() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise InvalidArgument("no")

    gc.disable()
    try:
        with contextlib.suppress(InvalidArgument):
            await one.run(fail)
        await one.run(int)  # the thread has let go of the call before

        assert seen[0]() is None
    finally:
        gc.enable()


LIMITS = Limits(longest_s=FAR_S, overtime_s=NEAR_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(FAR_S):
        while not condition():  # noqa: ASYNC110  another thread makes it true
            await asyncio.sleep(NEAR_S)


@pytest.mark.asyncio
async def test_one_owner_never_takes_the_last_thread_from_another() -> None:
    gates = [Gate(), Gate()]
    with Threads(name="runner", count=2, max_waiting=1) as threads:
        stuck = threads.owner("stuck:1", max_waiting=1)
        other = threads.owner("other:1", max_waiting=1)
        running = [asyncio.create_task(stuck.run(gate)) for gate in gates]
        for gate in gates:
            await gate.entered()

        for number in range(20):
            assert await other.run(str, number) == str(number)

        assert threads.statistics.threads == 3
        for gate in gates:
            gate.open()
        await asyncio.gather(*running)


@pytest.mark.asyncio
async def test_a_run_that_outlives_its_deadline_is_written_off_and_another_takes_its_place() -> (
    None
):
    gate, told = Gate(), asyncio.Event()
    with Threads(name="runner", count=1, max_waiting=1, limits=LIMITS) as threads:
        owner = threads.owner("m:1", max_waiting=1, on_write_off=told.set)

        await run_past_deadline(owner, gate)
        await asyncio.wait_for(told.wait(), FAR_S)

        assert owner.written_off == 1
        assert threads.statistics.running == 0
        assert threads.statistics.written_off == 1
        assert await owner.run(str, 1) == "1"
        gate.open()
        await until(lambda: owner.written_off == 0)
        assert threads.statistics.threads == 1
        assert await owner.run(str, 2) == "2"


@pytest.mark.asyncio
async def test_a_run_whose_caller_has_left_is_written_off_too() -> None:
    gate = Gate()
    with Threads(name="runner", count=1, max_waiting=1, limits=LIMITS) as threads:
        task = await start(threads, gate)

        task.cancel()
        await until(lambda: threads.statistics.written_off == 1)

        assert await threads.run(str, 1) == "1"
        gate.open()


@pytest.mark.asyncio
async def test_a_call_without_a_deadline_has_the_longest_one() -> None:
    gate = Gate()
    limits = Limits(longest_s=NEAR_S, overtime_s=NEAR_S)
    with Threads(name="runner", count=1, max_waiting=1, limits=limits) as threads:
        with pytest.raises(DeadlineExceeded):
            await threads.run(gate)

        assert await threads.run(str, 1, deadline=time.monotonic() + FAR_S) == "1"
        gate.open()


@pytest.mark.asyncio
async def test_a_call_without_a_deadline_waits_only_so_long_for_a_thread() -> None:
    limits = Limits(longest_s=FAR_S, longest_wait_s=NEAR_S, overtime_s=FAR_S)
    gate = Gate()
    with Threads(name="runner", count=1, max_waiting=5, limits=limits) as threads:
        running = await start(threads, gate)

        with pytest.raises(Unavailable, match=r"longer than 0.01 s \(--max_queue_seconds\)"):
            await threads.run(str, 1)

        assert threads.statistics.waiting == 0
        gate.open()
        assert await running == "through"  # it had begun: its time is another


@pytest.mark.asyncio
async def test_a_call_that_began_after_a_wait_still_has_a_deadline() -> None:
    limits = Limits(longest_s=20 * NEAR_S, longest_wait_s=NEAR_S, overtime_s=FAR_S)
    gate = Gate()
    with Threads(name="runner", count=1, max_waiting=5, limits=limits) as threads:
        with pytest.raises(DeadlineExceeded):
            await threads.run(gate)
        gate.open()


@pytest.mark.asyncio
async def test_a_run_that_ends_in_its_overtime_is_not_written_off() -> None:
    gate = Gate()
    limits = Limits(longest_s=FAR_S, overtime_s=5 * NEAR_S)
    written_off: list[int] = []
    with Threads(name="runner", count=1, max_waiting=1, limits=limits) as threads:
        owner = threads.owner("m:1", max_waiting=1, on_write_off=lambda: written_off.append(1))
        with pytest.raises(DeadlineExceeded):
            await owner.run(gate, deadline=time.monotonic() + NEAR_S)
        gate.open()
        await until(lambda: threads.statistics.running == 0)

        await asyncio.sleep(10 * NEAR_S)

        assert written_off == []


@pytest.mark.asyncio
async def test_what_a_call_held_is_let_go_although_its_overtime_is_still_watched() -> None:
    class Held:
        pass

    gate, held = Gate(), Held()
    seen = weakref.ref(held)
    with Threads(
        name="runner",
        count=1,
        max_waiting=1,
        limits=Limits(longest_s=FAR_S, overtime_s=FAR_S),
    ) as threads:
        task = asyncio.create_task(threads.run(lambda _: gate(), held))
        del held
        await gate.entered()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del task
        gate.open()

        await until(lambda: threads.statistics.running == 0)
        await threads.run(int)

        assert seen() is None


@pytest.mark.asyncio
async def test_closing_does_not_wait_for_what_never_ends() -> None:
    gate = Gate()
    with Threads(name="runner", count=1, max_waiting=1, limits=LIMITS) as threads:
        task = await start(threads, gate)
        task.cancel()

        began = time.monotonic()
        threads.close(grace_s=NEAR_S)

        assert time.monotonic() - began < FAR_S / 2
    gate.open()


@pytest.mark.asyncio
async def test_with_patience_a_stuck_call_holds_others_up_only_for_a_while() -> None:
    gate = Gate()
    with Threads(name="load", count=1, max_waiting=9, patience_s=5 * NEAR_S) as threads:
        stuck = asyncio.create_task(threads.owner("stuck:1", max_waiting=1).run(gate))
        await gate.entered()

        assert await threads.owner("other:1", max_waiting=1).run(str, 1) == "1"

        gate.open()
        await stuck
