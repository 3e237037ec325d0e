"""`grpc.health.v1.Health`, following what the server and its models really do."""

from __future__ import annotations

import asyncio

import pytest
from grpc_health.v1 import health_pb2

from sigrun.config.models import ModelSet
from sigrun.config.server import GrpcOptions
from sigrun.errors import DataLoss
from sigrun.servables.state import State
from tests.wire.clients import NAME, failure, predict_request, soon
from tests.wire.rig import HOST, Rig

pytestmark = pytest.mark.asyncio

SERVICES = [
    "",
    "tensorflow.serving.PredictionService",
    "PredictionService",
    "tensorflow.serving.ModelService",
    "ModelService",
]


class TestCheck:
    async def test_server_services_and_models_are_serving_once_started(self, rig: Rig) -> None:
        client = await rig.start()

        health = {name: await client.check(name) for name in [*SERVICES, NAME]}

        assert health == dict.fromkeys([*SERVICES, NAME], "SERVING")

    async def test_an_unknown_name_is_not_found(self, rig: Rig) -> None:
        client = await rig.start()

        assert await failure(client.check("other")) == (
            "NOT_FOUND",
            "No service or model is named 'other'",
        )

    async def test_a_model_that_failed_is_not_serving_and_keeps_the_server_from_being_ready(
        self, rig: Rig
    ) -> None:
        rig.add_version(1)
        rig.add_version(1, "broken")
        rig.errors["broken:1"] = DataLoss("the file is cut short")
        models = ModelSet((rig.model(), rig.model("broken")))
        await rig.build(models=models).start()
        client = rig.client()

        health = {name: await client.check(name) for name in ("", NAME, "broken")}

        assert health == {"": "NOT_SERVING", NAME: "SERVING", "broken": "NOT_SERVING"}

    async def test_a_server_without_models_is_serving(self, rig: Rig) -> None:
        await rig.build(models=ModelSet()).start()

        assert await rig.client().check() == "SERVING"

    async def test_it_can_be_turned_off(self, rig: Rig) -> None:
        client = await rig.start(grpc=GrpcOptions(host=HOST, port=0, enable_health=False))

        code, _ = await failure(client.check())

        assert code == "UNIMPLEMENTED"


@pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListRequest"),
    reason="this grpcio-health-checking is older than List",
)
class TestList:
    async def test_everything_that_can_be_checked_is_listed(self, rig: Rig) -> None:
        client = await rig.start()

        listed = await client.list_health()

        assert listed == dict.fromkeys([*SERVICES, NAME], "SERVING")


class TestWatch:
    async def test_a_models_watchers_see_it_unload_and_load(self, rig: Rig) -> None:
        client = await rig.start(1)
        watcher = client.watch(NAME)
        assert await watcher.next() == "SERVING"

        rig.remove_version(1)
        assert await watcher.next() == "NOT_SERVING"
        rig.add_version(2)
        assert await watcher.next() == "SERVING"

    async def test_a_change_of_versions_is_no_change_of_health(self, rig: Rig) -> None:
        client = await rig.start(1)
        watcher = client.watch(NAME)
        assert await watcher.next() == "SERVING"

        rig.add_version(2)
        await rig.until_states({2: State.AVAILABLE})
        rig.remove_version(1)
        await rig.until_states({1: State.END})
        rig.remove_version(2)

        assert await watcher.next() == "NOT_SERVING"

    @pytest.mark.parametrize("service", SERVICES)
    async def test_the_servers_watchers_see_its_only_model_come_and_go(
        self, rig: Rig, service: str
    ) -> None:
        client = await rig.start(1)
        watcher = client.watch(service)
        assert await watcher.next() == "SERVING"

        rig.remove_version(1)
        assert await watcher.next() == "NOT_SERVING"
        rig.add_version(2)
        assert await watcher.next() == "SERVING"

    async def test_one_model_that_goes_leaves_the_server_serving(self, rig: Rig) -> None:
        rig.add_version(1)
        rig.add_version(1, "other")
        await rig.build(models=ModelSet((rig.model(), rig.model("other")))).start()
        client = rig.client()
        model, server = client.watch("other"), client.watch()
        assert (await model.next(), await server.next()) == ("SERVING", "SERVING")

        rig.remove_version(1, "other")
        assert await model.next() == "NOT_SERVING"
        rig.remove_version(1)
        assert await server.next() == "NOT_SERVING"

    async def test_a_model_may_be_watched_before_it_is_known(self, rig: Rig) -> None:
        client = await rig.start(1)
        watcher = client.watch("other")
        assert await watcher.next() == "SERVICE_UNKNOWN"

        rig.add_version(1, "other")
        await rig.server.models.reload(ModelSet((rig.model(), rig.model("other"))))

        seen = [await watcher.next()]
        while seen[-1] != "SERVING":
            seen.append(await watcher.next())
        assert set(seen) <= {"NOT_SERVING", "SERVING"}

    async def test_every_watcher_hears_of_a_change(self, rig: Rig) -> None:
        client = await rig.start(1)
        watchers = [client.watch(NAME) for _ in range(5)]
        assert [await w.next() for w in watchers] == ["SERVING"] * 5

        rig.remove_version(1)

        assert [await w.next() for w in watchers] == ["NOT_SERVING"] * 5

    async def test_one_watcher_that_leaves_leaves_the_others(self, rig: Rig) -> None:
        await rig.start(1)
        clients = [rig.client() for _ in range(3)]
        watchers = [client.watch(NAME) for client in clients]
        assert [await w.next() for w in watchers] == ["SERVING"] * 3

        watchers[0].leave()
        await clients[1].channel.close()
        rig.remove_version(1)

        assert await watchers[2].next() == "NOT_SERVING"

    async def test_a_drain_is_told_and_ends_every_stream(self, rig: Rig) -> None:
        client = await rig.start(1)
        watchers = [client.watch(name) for name in ["", NAME, "other", *SERVICES]]
        before = [await w.next() for w in watchers]
        rig.servable().gate.clear()
        request = client.begin(predict_request(1))
        await soon(rig.servable().started.wait())

        stopping = asyncio.create_task(rig.stop(grace_s=30))
        after = [[await w.next(), await w.next()] for w in watchers if w is not watchers[2]]
        rig.servable().gate.set()
        await soon(request)
        await soon(stopping)

        assert before == ["SERVING", "SERVING", "SERVICE_UNKNOWN", *["SERVING"] * len(SERVICES)]
        assert after == [["NOT_SERVING", "end"]] * (len(watchers) - 1)
        assert await watchers[2].next() == "end"
        assert {(await w.code()).name for w in watchers} == {"OK"}
