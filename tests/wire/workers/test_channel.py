"""Two processes call each other over a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from sigrun.errors import DeadlineExceeded, Internal, NotFound, ResourceExhausted
from sigrun.workers.channel import MAX_FRAME_BYTES, Channel, ChannelClosed, Handler
from sigrun.workers.values import Plain

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def connected(handlers: Mapping[str, Handler]) -> AsyncIterator[tuple[Channel, Channel]]:
    """Yield two ends; the second one answers."""
    ends = socket.socketpair()
    asking = await Channel.over(ends[0], {}, peer="the other")
    answering = await Channel.over(ends[1], handlers, peer="the one")
    running = [asyncio.create_task(each.run()) for each in (asking, answering)]
    try:
        yield asking, answering
    finally:
        asking.close()
        answering.close()
        await asyncio.gather(*running)


async def echo(value: Plain) -> Plain:
    return value


async def test_calls_are_answered_whichever_comes_first() -> None:
    gate = asyncio.Event()

    async def wait(value: Plain) -> Plain:
        await gate.wait()
        return value

    async with connected({"echo": echo, "wait": wait}) as (channel, _):
        late = asyncio.create_task(channel.call("wait", 1, within_s=10))

        assert await channel.call("echo", {"a": ["ä", 2**60, None]}, within_s=10) == {
            "a": ["ä", 2**60, None]
        }
        gate.set()
        assert await late == 1


async def test_what_the_other_side_raises_is_raised_here() -> None:
    async def fail(_: Plain) -> Plain:
        raise NotFound("no such thing")

    async with connected({"fail": fail}) as (channel, _):
        with pytest.raises(NotFound, match="no such thing"):
            await channel.call("fail", within_s=10)


async def test_a_fault_of_the_other_side_is_internal() -> None:
    async def fail(_: Plain) -> Plain:
        raise ZeroDivisionError("oops")

    async with connected({"fail": fail}) as (channel, _):
        with pytest.raises(Internal, match="ZeroDivisionError: oops"):
            await channel.call("fail", within_s=10)


async def test_the_end_of_the_other_side_ends_its_calls() -> None:
    began = asyncio.Event()

    async def wait(_: Plain) -> Plain:
        began.set()
        return await asyncio.Event().wait()

    async with connected({"wait": wait}) as (channel, other):
        call = asyncio.create_task(channel.call("wait", within_s=None))
        await began.wait()
        other.close()

        with pytest.raises(ChannelClosed, match="the other has ended"):
            await call
        with pytest.raises(ChannelClosed):
            await channel.call("wait", within_s=None)


async def test_work_is_cancelled_when_nobody_waits_for_it() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_: Plain) -> Plain:
        began.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with connected({"wait": wait}) as (channel, _):
        call = asyncio.create_task(channel.call("wait", within_s=None))
        await began.wait()
        call.cancel()

        await asyncio.wait_for(cancelled.wait(), 10)


async def test_a_call_that_is_not_answered_in_time_is_given_up() -> None:
    async def wait(_: Plain) -> Plain:
        return await asyncio.Event().wait()

    async with connected({"wait": wait}) as (channel, _):
        with pytest.raises(DeadlineExceeded, match="the other has not answered 'wait' in time"):
            await channel.call("wait", within_s=0.01)


async def test_a_message_that_is_too_long_is_refused() -> None:
    async with connected({"echo": echo}) as (channel, _):
        with pytest.raises(ResourceExhausted, match="a message may have"):
            await channel.call("echo", "x" * MAX_FRAME_BYTES, within_s=10)

        assert await channel.call("echo", 1, within_s=10) == 1
