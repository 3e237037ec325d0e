"""Versions come and go under load, and no request notices."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from sigrun.config.models import LatestVersions, ModelSet
from sigrun.servables.state import State
from tests.wire.clients import NAME, GrpcClient
from tests.wire.rig import HTTP, Rig

pytestmark = pytest.mark.asyncio

CLIENTS = 16


class Load:
    """Clients that ask again and again until told to end; `versions` is what answered."""

    def __init__(self) -> None:
        self.versions: list[int] = []
        self.answers = 0
        self._is_over = False
        self._more = asyncio.Event()

    def end(self) -> None:
        """Let every client finish what it has begun."""
        self._is_over = True

    async def by_grpc(self, client: GrpcClient) -> None:
        """Ask over gRPC. Raises what goes wrong."""
        while not self._is_over:
            answer = await client.predict(1)
            assert list(answer.outputs["y"].float_val) == [2.5]
            self.versions.append(answer.model_spec.version.value)
            self._count()

    async def by_http(self, client: httpx.AsyncClient) -> None:
        """Ask over HTTP. Raises what goes wrong."""
        while not self._is_over:
            answer = await client.post(f"/v1/models/{NAME}:predict", json={"instances": [1]})
            assert (answer.status_code, answer.json()) == (200, {"predictions": [2.5]})
            self._count()

    async def more(self, count: int) -> None:
        """Return after `count` more answers."""
        wanted = self.answers + count
        while self.answers < wanted:
            self._more.clear()
            await self._more.wait()

    def _count(self) -> None:
        self.answers += 1
        self._more.set()


async def test_no_request_fails_while_versions_replace_each_other(rig: Rig) -> None:
    models = ModelSet((rig.model(version_policy=LatestVersions()),))
    await rig.start(1, models=models, http=HTTP)
    load = Load()

    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS // 2):
            tasks.create_task(load.by_grpc(rig.client()))
            tasks.create_task(load.by_http(rig.http()))
        for version in range(2, 7):
            await load.more(CLIENTS)
            rig.add_version(version)
            await rig.until_states({version: State.AVAILABLE, version - 1: State.END})
        await load.more(CLIENTS)
        load.end()

    assert set(load.versions) == set(range(1, 7))
    assert [rig.loaders[f"{NAME}:{version}"].unloads for version in range(1, 6)] == [1] * 5


async def test_no_request_fails_while_versions_disappear_and_come_back(rig: Rig) -> None:
    await rig.start(1, 2, http=HTTP)
    load = Load()

    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS // 2):
            tasks.create_task(load.by_grpc(rig.client()))
            tasks.create_task(load.by_http(rig.http()))
        for version in (3, 4, 5):
            await load.more(CLIENTS)
            rig.remove_version(version - 1)
            await rig.until_states({version - 1: State.END})
            await load.more(CLIENTS)
            rig.add_version(version)
            await rig.until_states({version: State.AVAILABLE})
        await load.more(CLIENTS)
        load.end()

    assert set(load.versions) == {1, 2, 3, 4, 5}
    assert rig.state(1) is State.AVAILABLE


async def test_no_request_fails_while_reloads_add_and_remove_other_models(rig: Rig) -> None:
    await rig.start(1, http=HTTP)
    rig.add_version(1, "other")
    with_other = ModelSet((rig.model(), rig.model("other")))
    load = Load()

    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS // 2):
            tasks.create_task(load.by_grpc(rig.client()))
            tasks.create_task(load.by_http(rig.http()))
        for _ in range(3):
            await load.more(CLIENTS)
            await rig.server.models.reload(with_other)
            await load.more(CLIENTS)
            await rig.server.models.reload(ModelSet((rig.model(),)))
            await rig.until_states({1: State.END}, "other")
        load.end()

    assert set(load.versions) == {1}


async def test_a_request_ends_on_the_version_it_began_on(rig: Rig) -> None:
    models = ModelSet((rig.model(version_policy=LatestVersions()),))
    client = await rig.start(1, models=models)
    old = rig.servable(1)
    old.gate.clear()
    begun = asyncio.create_task(client.predict(1))
    await old.started.wait()

    rig.add_version(2)
    await rig.until_states({2: State.AVAILABLE, 1: State.UNLOADING})
    new = await client.predict(1)
    unloads_before = rig.loaders[f"{NAME}:1"].unloads
    old.gate.set()

    assert new.model_spec.version.value == 2
    assert (await begun).model_spec.version.value == 1
    assert unloads_before == 0
    await rig.until_states({1: State.END})
