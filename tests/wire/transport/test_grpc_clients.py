"""Clients of grpcio, with an HTTP/2 of their own: calls, deadlines, a server that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.listener import Listener
from tests.wire.transport.desk import Desk, until
from tests.wire.transport.h2_client import HOST, PATIENCE_S

# grpcio polls in a way of its own, which does not go together with two kinds of loop in turn.
pytestmark = [
    pytest.mark.asyncio(loop_factories=["asyncio"]),
    pytest.mark.timeout(60),
]

CALL = "/echo.Echo/Call"
# Retries are as gRPC has them by default: a call that no server has begun is sent again.
# No other is.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def method(client: grpc.aio.Channel, path: str = CALL) -> Callable[..., Awaitable[bytes]]:
    call: Callable[..., Awaitable[bytes]] = client.unary_unary(path)
    return call


def channel(listener: Listener) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"{HOST}:{listener.port}", OWN_CONNECTION)


@pytest.mark.parametrize("size", [0, 46, 3_000_000])
async def test_a_call_is_answered(desk: Desk, size: int) -> None:
    listener = await desk.listen()
    async with channel(listener) as client:
        answer = await method(client)(bytes(size), timeout=PATIENCE_S)

    assert answer == bytes(size)


async def test_the_synchronous_client_is_answered(desk: Desk) -> None:
    listener = await desk.listen()

    def ask() -> bytes:
        with grpc.insecure_channel(f"{HOST}:{listener.port}", OWN_CONNECTION) as client:
            call: Callable[..., bytes] = client.unary_unary(CALL)
            return call(b"abc", timeout=PATIENCE_S)

    with ThreadPoolExecutor(1) as threads:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(threads, ask) == b"abc"


async def test_calls_whose_deadline_passes_hurt_no_others(desk: Desk) -> None:
    listener = await desk.listen()
    async with channel(listener) as client:
        long = [
            asyncio.ensure_future(method(client, "/wait")(b"", timeout=PATIENCE_S))
            for _ in range(10)
        ]
        await until(lambda: len(desk.application.begun) == 10)
        short = [method(client, "/slow?60000")(b"", timeout=0.05) for _ in range(300)]
        codes = [type(each) for each in await asyncio.gather(*short, return_exceptions=True)]
        assert set(codes) == {grpc.aio.AioRpcError}
        await until(lambda: len(desk.application.cancelled) == len(desk.application.begun) - 10)

        assert await method(client)(b"abc", timeout=PATIENCE_S) == b"abc"
        assert not any(call.done() for call in long)
        for call in long:
            call.cancel()


async def test_a_server_that_leaves_loses_none_of_their_calls(desk: Desk) -> None:
    for _ in range(3):
        listener = await desk.listen(limits=Limits(tick_s=0.02))
        answered, lost = 0, []

        async def call_on(client: grpc.aio.Channel) -> None:
            nonlocal answered
            ask = method(client)
            while True:
                try:
                    await ask(b"abc", timeout=PATIENCE_S)
                    answered += 1
                except grpc.aio.AioRpcError as error:
                    if "refused" not in str(error.debug_error_string()):
                        lost.append(error)  # noqa: B023
                    return

        clients = [channel(listener) for _ in range(4)]
        calls = [asyncio.ensure_future(call_on(client)) for client in clients for _ in range(8)]
        await until(lambda: answered > 200)  # noqa: B023

        await listener.stop(PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*calls)
        for client in clients:
            await client.close()

        assert lost == []
