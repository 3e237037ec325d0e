"""Clients are closed, shared and cancelled."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sigrun_client import AsyncClient, Client
from tests.wire.rig import HOST, Rig

pytestmark = pytest.mark.asyncio

NAME = "half_plus_two"


def address_of(rig: Rig) -> str:
    return f"{HOST}:{rig.server.grpc.port}"


async def test_a_closed_client_says_so(rig: Rig) -> None:
    await rig.start()
    with Client(address_of(rig)) as client:
        pass
    async with AsyncClient(address_of(rig)) as async_client:
        pass

    with pytest.raises(RuntimeError, match="the client is closed"):
        client.status(NAME)
    with pytest.raises(RuntimeError, match="the client is closed"):
        await async_client.status(NAME)


async def test_threads_share_a_client(rig: Rig) -> None:
    await rig.start()

    def ask(number: int) -> float:
        result = client.predict(NAME, {"x": [float(number)]})
        value: float = result["y"][0]
        return value

    with Client(address_of(rig)) as client, ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(threads, ask, number) for number in range(40))
        )

    assert answers == [number / 2 + 2 for number in range(40)]


async def test_calls_of_one_async_client_run_side_by_side(rig: Rig) -> None:
    await rig.start()

    async with AsyncClient(address_of(rig)) as client:
        results = await asyncio.gather(
            *(client.predict(NAME, {"x": [float(number)]}) for number in range(40))
        )

    assert [result["y"][0] for result in results] == [number / 2 + 2 for number in range(40)]


async def test_an_async_client_may_be_made_before_its_loop(rig: Rig) -> None:
    await rig.start()
    client = await asyncio.to_thread(AsyncClient, address_of(rig))

    async with client:
        assert (await client.predict(NAME, {"x": [1.0]})).version == 1


async def test_a_call_that_is_cancelled_is_cancelled_at_the_server(rig: Rig) -> None:
    await rig.start()
    servable = rig.servable()
    servable.gate.clear()

    async with AsyncClient(address_of(rig)) as client:
        x = {"x": np.zeros(1, np.float32)}
        call = asyncio.create_task(client.predict(NAME, x))
        await servable.started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
