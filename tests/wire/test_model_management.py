"""`sigrun.v1.ModelManagementService`: models are listed and changed one by one, on every door."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import text_format

from sigrun._gen.sigrun.v1 import model_management_pb2 as pb
from sigrun._gen.tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig
from sigrun.config.models import LatestVersions, ModelSet, SpecificVersions
from sigrun.errors import DataLoss
from sigrun.wire.config_files import model_config
from tests.wire.clients import NAME, PATIENCE_S, GrpcClient, failure
from tests.wire.gateways import address_of, gateway_to
from tests.wire.rig import HTTP, Rig

pytestmark = pytest.mark.asyncio

OTHER = "other"
SERVICE = "/sigrun.v1.ModelManagementService"


async def ask(client: GrpcClient, request: Any) -> Any:
    """Return the answer to a request, whose type says which method is meant."""
    name = type(request).__name__.removesuffix("Request")
    response = getattr(pb, f"{name}Response")
    method = client.channel.unary_unary(
        f"{SERVICE}/{name}", type(request).SerializeToString, response.FromString
    )
    return await method(request, timeout=PATIENCE_S)


async def post(http: httpx.AsyncClient, method: str, document: Any) -> tuple[int, Any]:
    answer = await http.post(f"{SERVICE}/{method}", json=document)
    return answer.status_code, answer.json()


def load(rig: Rig, name: str = OTHER, **settings: Any) -> pb.LoadModelRequest:
    config = pb.ModelConfig(name=name, base_path=str(rig.folder / name), **settings)
    return pb.LoadModelRequest(config=config)


def told(model: pb.Model) -> dict[int, int]:
    return {version.version: version.state for version in model.versions}


AVAILABLE = 30


async def test_a_model_is_loaded_listed_and_unloaded(rig: Rig) -> None:
    client = await rig.start()
    rig.add_version(5, OTHER)

    loaded = await ask(client, load(rig))
    assert loaded.model.config.name == OTHER
    assert told(loaded.model) == {5: AVAILABLE}
    await client.predict(1, name=OTHER)
    listed = await ask(client, pb.ListModelsRequest())
    assert [(model.config.name, told(model)) for model in listed.models] == [
        (NAME, {1: AVAILABLE}),
        (OTHER, {5: AVAILABLE}),
    ]
    assert listed.models[1].config.base_path == str(rig.folder / OTHER)
    assert listed.models[1].config.version_policy.latest.num_versions == 0
    assert listed.models[0].config.version_policy.HasField("all")

    await ask(client, pb.UnloadModelRequest(name=OTHER))

    code, _ = await failure(client.predict(1, name=OTHER))
    assert code == "NOT_FOUND"
    await client.predict(1)


async def test_a_model_is_served_in_another_way(rig: Rig) -> None:
    client = await rig.start(1, 2, 3)
    request = load(rig, NAME)
    request.config.version_policy.specific.versions.extend([1, 2])
    request.config.version_labels["stable"] = 1

    loaded = await ask(client, request)

    assert list(loaded.model.config.version_policy.specific.versions) == [1, 2]
    assert rig.server.models.current == ModelSet(
        (
            rig.model(
                version_policy=SpecificVersions(frozenset({1, 2})), version_labels={"stable": 1}
            ),
        )
    )
    assert (await client.predict(1)).model_spec.version.value == 2
    assert (await client.predict(1, label="stable")).model_spec.version.value == 1


async def test_a_model_is_loaded_again(rig: Rig) -> None:
    client = await rig.start()
    first = rig.loaders.pop(f"{NAME}:1")

    reloaded = await ask(client, pb.ReloadModelRequest(name=NAME))

    assert told(reloaded.model) == {1: AVAILABLE}
    assert rig.loaders[f"{NAME}:1"] is not first


async def test_a_model_that_is_configured_and_broken_is_tried_again(rig: Rig) -> None:
    client = await rig.start()
    rig.add_version(5, OTHER)
    await ask(client, load(rig))
    rig.errors[f"{OTHER}:5"] = DataLoss("the file is cut short")
    rig.remove_version(5, OTHER)
    await rig.until(lambda: not rig.server.monitor.is_available(OTHER))
    (rig.folder / f"removed-{OTHER}-5").rename(rig.folder / OTHER / "5")
    rig.loaders.clear()

    code, text = await failure(ask(client, load(rig)))
    assert (code, text) == ("DATA_LOSS", f"{OTHER}:5 failed to load: the file is cut short")
    del rig.errors[f"{OTHER}:5"]
    rig.loaders.clear()

    assert told((await ask(client, load(rig))).model) == {5: AVAILABLE}


async def test_labels_are_added_moved_and_removed(rig: Rig) -> None:
    client = await rig.start(1, 2)

    def labels(*, removed: tuple[str, ...] = (), **wanted: int) -> pb.SetLabelsRequest:
        return pb.SetLabelsRequest(name=NAME, version_labels=wanted, removed_labels=removed)

    await ask(client, labels(stable=1, canary=2))
    moved = await ask(client, labels(stable=2, removed=("canary",)))

    assert dict(moved.model.config.version_labels) == {"stable": 2}
    assert (await client.predict(1, label="stable")).model_spec.version.value == 2
    refusals = {
        request: await failure(ask(client, labels(**settings)))  # type: ignore[arg-type]
        for request, settings in {
            "a version that is not there": {"stable": 7},
            "one that is not there to remove": {"removed": ("canary",)},
            "both": {"stable": 1, "removed": ("stable",)},
        }.items()
    }
    assert refusals == {
        "a version that is not there": (
            "FAILED_PRECONDITION",
            (
                "Request to assign label to version 7 of model half_plus_two, which is not "
                "currently available for inference"
            ),
        ),
        "one that is not there to remove": (
            "NOT_FOUND",
            "There is no label canary of half_plus_two to remove; it has stable",
        ),
        "both": ("INVALID_ARGUMENT", "Label stable is to be set and to be removed"),
    }


async def test_what_cannot_be_is_told(rig: Rig) -> None:
    client = await rig.start()
    there = "there is no model other, this server has model half_plus_two"

    refusals = {
        "no name": await failure(ask(client, load(rig, ""))),
        "no such platform": await failure(ask(client, load(rig, platform="pytorch"))),
        "no base path": await failure(ask(client, load(rig))),
        "unload": await failure(ask(client, pb.UnloadModelRequest(name=OTHER))),
        "reload": await failure(ask(client, pb.ReloadModelRequest(name=OTHER))),
        "label": await failure(ask(client, pb.SetLabelsRequest(name=OTHER))),
    }

    assert {case: code for case, (code, _) in refusals.items()} == {
        "no name": "INVALID_ARGUMENT",
        "no such platform": "INVALID_ARGUMENT",
        "no base path": "INVALID_ARGUMENT",
        "unload": "NOT_FOUND",
        "reload": "NOT_FOUND",
        "label": "NOT_FOUND",
    }
    for case in ("unload", "reload", "label"):
        assert refusals[case][1] == f"Could not find any versions of model {OTHER}; {there}"
    assert refusals["no base path"][1].startswith(f"Could not find base path {rig.folder / OTHER}")
    assert refusals["no name"][1] == "The config of a model needs a name; given: an empty one"
    await client.predict(1)


async def test_it_speaks_json(rig: Rig) -> None:
    await rig.start(http=HTTP)
    rig.add_version(5, OTHER)
    http = rig.http()

    loaded = await post(
        http, "LoadModel", {"config": {"name": OTHER, "basePath": str(rig.folder / OTHER)}}
    )
    listed = await post(http, "ListModels", {})
    gone = await post(http, "UnloadModel", {"name": OTHER})

    assert loaded[0] == 200
    assert [model["config"]["name"] for model in listed[1]["models"]] == [NAME, OTHER]
    assert listed[1]["models"][1]["versions"][0]["state"] == "AVAILABLE"
    assert gone == (200, {})


async def test_without_administration_models_are_listed_and_not_changed(rig: Rig) -> None:
    client = await rig.start(enable_admin=False)

    assert len((await ask(client, pb.ListModelsRequest())).models) == 1
    for request in (
        load(rig),
        pb.UnloadModelRequest(name=NAME),
        pb.ReloadModelRequest(name=NAME),
        pb.SetLabelsRequest(name=NAME),
    ):
        name = type(request).__name__.removesuffix("Request")
        assert await failure(ask(client, request)) == (
            "PERMISSION_DENIED",
            f"{name} is turned off here (--enable_admin=false)",
        )


class TestThroughAGateway:
    async def test_models_are_listed_and_changed(self, rig: Rig) -> None:
        await rig.start()
        rig.add_version(5, OTHER)

        async with gateway_to(address_of(rig)) as gateway:
            config = {"name": OTHER, "basePath": str(rig.folder / OTHER)}
            loaded = await post(gateway, "LoadModel", {"config": config})
            listed = (await gateway.get("/v1/models")).json()

        assert loaded[0] == 200
        assert [model["name"] for model in listed["models"]] == [NAME, OTHER]
        assert listed["models"][0]["model_version_status"][0]["state"] == "AVAILABLE"

    async def test_of_several_servers_none_is_changed(self, rig: Rig) -> None:
        await rig.start()

        async with gateway_to(address_of(rig), address_of(rig)) as gateway:
            listed, _ = await post(gateway, "ListModels", {})
            status, answer = await post(gateway, "UnloadModel", {"name": NAME})

        assert listed == 200
        assert (status, answer["code"]) == (400, "failed_precondition")
        assert answer["message"] == (
            "This gateway stands in front of 2 servers, and UnloadModel would change the models of "
            "one of them: ask each server itself"
        )

    async def test_a_server_that_cannot_list_is_told(self) -> None:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with gateway_to(f"127.0.0.1:{port}") as gateway:
                answer = await gateway.get("/v1/models")
        finally:
            await server.stop(0)

        assert answer.status_code == 501
        assert answer.json()["error"].startswith("The server upstream cannot list its models")


class TestBesideAConfigFile:
    def write(self, rig: Rig, *names: str) -> None:
        config = ModelServerConfig()
        config.model_config_list.SetInParent()
        for name in names:
            config.model_config_list.config.add(
                name=name, base_path=str(rig.folder / name), model_platform="tensorflow"
            )
        new = rig.folder / "models.new"
        new.write_text(text_format.MessageToString(config))
        new.replace(rig.folder / "models.config")

    async def start(self, rig: Rig) -> GrpcClient:
        for name in (NAME, OTHER, "third"):
            rig.add_version(1, name)
        self.write(rig, NAME)
        latest = LatestVersions(0)
        await rig.build(
            models=ModelSet((rig.model(version_policy=latest),)),
            config_file=rig.folder / "models.config",
            config_file_poll_wait_s=3600,
        ).start()
        return rig.client()

    async def test_a_change_stays_while_the_file_stays_and_a_changed_file_wins(
        self, rig: Rig
    ) -> None:
        client = await self.start(rig)
        poller = rig.server._poller
        assert poller is not None
        await ask(client, load(rig))
        await ask(client, pb.UnloadModelRequest(name=NAME))

        await poller.poll()
        assert rig.server.models.current.names == {OTHER}
        self.write(rig, NAME, "third")
        await poller.poll()

        assert rig.server.models.current.names == {NAME, "third"}
        assert rig.server.models.current == model_config.from_reload(
            text_format.Parse((rig.folder / "models.config").read_text(), ModelServerConfig())
        )
