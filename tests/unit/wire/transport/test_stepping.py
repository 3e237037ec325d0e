"""A coroutine whose first step is taken outside of a task behaves as one inside."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
import uvloop

from sigrun.wire.transport.stepping import Continuation, make_task, suspend

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def begin(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Take the first step, which must end in a wait; return the task of the rest."""
    context = contextvars.copy_context()
    awaited = context.run(coroutine.send, None)
    return make_task(asyncio.get_running_loop(), coroutine, awaited, context)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return what runs a coroutine in a loop of either kind, in debug mode too."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param, debug=True) as runner:
            return runner.run(main)

    return run


class TestGoingOn:
    def test_it_goes_on_when_what_it_waits_for_is_there(self, run: Run) -> None:
        async def main() -> None:
            future = asyncio.get_running_loop().create_future()
            seen = []

            async def work() -> None:
                seen.append(await future)
                seen.append(await asyncio.sleep(0, "slept"))

            task = begin(work())
            future.set_result("future")
            await task
            assert seen == ["future", "slept"]

        run(main())

    def test_a_future_that_is_done_before_the_task_begins_is_not_waited_for(self, run: Run) -> None:
        async def main() -> None:
            future = asyncio.get_running_loop().create_future()

            async def work() -> None:
                assert await future == 1
                done.append(True)

            done: list[bool] = []
            begin(work())
            future.set_result(1)
            await asyncio.sleep(0)
            assert done

        run(main())

    def test_a_future_may_be_awaited_by_others_meanwhile(self, run: Run) -> None:
        async def main() -> None:
            future = asyncio.get_running_loop().create_future()

            async def work() -> None:
                assert await future == 1

            task = begin(work())
            other = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(future), 5))
            third = asyncio.create_task(work())
            fourth = begin(work())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            future.set_result(1)
            await asyncio.gather(task, other, third, fourth)

        run(main())

    def test_sleeping_for_no_time_in_the_first_step_works(self, run: Run) -> None:
        async def main() -> None:
            async def work() -> None:
                for _ in range(3):
                    await asyncio.sleep(0)
                await asyncio.sleep(0.001)

            await begin(work())

        run(main())

    def test_awaits_may_be_nested(self, run: Run) -> None:
        async def main() -> None:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            async def inner(depth: int) -> int:
                if depth:
                    return 1 + await inner(depth - 1)
                return await future

            async def work() -> None:
                result.append(await inner(20))
                result.append(await asyncio.gather(inner(0), inner(1)))

            result: list[Any] = []
            task = begin(work())
            future.set_result(100)
            await task
            assert result == [120, [100, 101]]

        run(main())

    def test_an_exception_of_what_it_waits_for_arrives(self, run: Run) -> None:
        async def main() -> None:
            future = asyncio.get_running_loop().create_future()

            async def work() -> None:
                with pytest.raises(KeyError):
                    await future
                raise LookupError("later")

            task = begin(work())
            future.set_exception(KeyError("early"))
            with pytest.raises(LookupError, match="later"):
                await task

        run(main())

    def test_what_cannot_be_awaited_is_the_coroutines_own_error(self, run: Run) -> None:
        async def main() -> None:
            class Wrong:
                def __await__(self) -> Generator[int, None, None]:
                    yield 42

            async def work() -> None:
                await Wrong()

            with pytest.raises(RuntimeError, match="42"):
                await begin(work())

        run(main())


class TestBeingATask:
    def test_there_is_no_task_in_the_first_step_and_one_after_suspending(self, run: Run) -> None:
        async def main() -> None:
            tasks: list[Any] = []

            async def work() -> None:
                tasks.append(asyncio.current_task())
                await suspend()
                tasks.append(asyncio.current_task())
                async with asyncio.timeout(5):
                    await asyncio.sleep(0)

            # The caller's task is not the coroutine's: it has to be outside of any.
            loop = asyncio.get_running_loop()
            made = loop.create_future()
            loop.call_soon(lambda: made.set_result(begin(work())))
            task = await made
            await task
            assert tasks == [None, task]

        run(main())

    def test_a_timeout_ends_it(self, run: Run) -> None:
        async def main() -> None:
            async def work() -> None:
                await suspend()
                async with asyncio.timeout(0.01):
                    await asyncio.get_running_loop().create_future()

            with pytest.raises(TimeoutError):
                await begin(work())

        run(main())

    def test_it_can_be_looked_at(self, run: Run) -> None:
        async def main() -> None:
            async def work() -> None:
                await asyncio.sleep(0)

            task = begin(work())
            assert "Continuation" in repr(task)
            task.get_stack()
            await task

        run(main())

    def test_nobody_else_awaits_it(self) -> None:
        async def work() -> None:
            await suspend()

        coroutine = work()
        continuation = Continuation(coroutine, coroutine.send(None))
        with pytest.raises(RuntimeError, match="for a task"):
            continuation.__await__()
        continuation.close()
        with pytest.raises(RuntimeError):
            coroutine.send(None)


class TestCancelling:
    @pytest.mark.parametrize("turns", range(5))
    def test_it_is_cancelled_wherever_it_stands(self, run: Run, turns: int) -> None:
        async def main() -> None:
            seen = []

            async def work() -> None:
                try:
                    for _ in range(3):
                        await asyncio.sleep(0)
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise
                finally:
                    seen.append("finally")

            task = begin(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen == ["cancelled", "finally"]

        run(main())

    @pytest.mark.parametrize("turns", range(3))
    def test_what_it_waits_for_is_cancelled_with_it(self, run: Run, turns: int) -> None:
        async def main() -> None:
            child = asyncio.create_task(asyncio.sleep(60))

            async def work() -> None:
                await child

            task = begin(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert child.cancelled()

        run(main())

    @pytest.mark.parametrize("turns", range(3))
    def test_what_is_shielded_goes_on(self, run: Run, turns: int) -> None:
        async def main() -> None:
            child = asyncio.create_task(asyncio.sleep(0.01, "done"))

            async def work() -> None:
                await asyncio.shield(child)

            task = begin(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await child == "done"

        run(main())

    @pytest.mark.parametrize("turns", range(3))
    def test_it_may_clean_up_and_wait_meanwhile(self, run: Run, turns: int) -> None:
        async def main() -> None:
            seen = []

            async def work() -> None:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.001)
                    seen.append("cleaned up")

            task = begin(work())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await task
            assert seen == ["cleaned up"]

        run(main())

    def test_a_result_that_came_before_the_cancelling_is_not_lost_silently(self, run: Run) -> None:
        async def main() -> None:
            future = asyncio.get_running_loop().create_future()
            seen = []

            async def work() -> None:
                try:
                    seen.append(await future)
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise

            task = begin(work())
            future.set_result("result")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen == ["cancelled"]  # as with any task

        run(main())


class TestContext:
    def test_what_the_first_step_sets_is_seen_later_and_can_be_set_back(self, run: Run) -> None:
        async def main() -> None:
            seen = []

            async def work() -> None:
                token = NAME.set("request")
                await asyncio.sleep(0)
                seen.append(NAME.get())
                NAME.reset(token)
                seen.append(NAME.get())

            await begin(work())
            assert seen == ["request", "nobody"]
            assert NAME.get() == "nobody"

        run(main())

    def test_coroutines_do_not_see_each_others(self, run: Run) -> None:
        async def main() -> None:
            seen = []

            async def work(name: str) -> None:
                NAME.set(name)
                await asyncio.sleep(0)
                seen.append(NAME.get())

            await asyncio.gather(begin(work("a")), begin(work("b")))
            assert seen == ["a", "b"]

        run(main())
