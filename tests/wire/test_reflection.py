"""Server reflection: what grpcurl and its like ask for."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from sigrun.config.server import GrpcOptions
from sigrun.servables.state import State
from tests.wire.clients import PATIENCE_S, GrpcClient
from tests.wire.rig import HOST, Rig

pytestmark = pytest.mark.asyncio

V1 = "grpc.reflection.v1"
V1ALPHA = "grpc.reflection.v1alpha"
Request = reflection_pb2.ServerReflectionRequest

SERVED = {
    "tensorflow.serving.PredictionService",
    "sigrun.v1.ModelManagementService",
    "tensorflow.serving.ModelService",
    "tensorflow.ProfilerService",
    "grpc.health.v1.Health",
    f"{V1}.ServerReflection",
    f"{V1ALPHA}.ServerReflection",
}

versions = pytest.mark.parametrize("version", [V1, V1ALPHA])


class Stream:
    """One reflection stream."""

    def __init__(self, client: GrpcClient, version: str) -> None:
        self._call: Any = client.channel.stream_stream(
            f"/{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=Request.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=PATIENCE_S)

    async def ask(self, **request: Any) -> reflection_pb2.ServerReflectionResponse:
        """Return the answer to one request; the stream goes on."""
        await self._call.write(Request(**request))
        answer: reflection_pb2.ServerReflectionResponse = await self._call.read()
        return answer

    async def files(self, **request: Any) -> list[FileDescriptorProto]:
        """Return the files of an answer."""
        answer = await self.ask(**request)
        assert answer.WhichOneof("message_response") == "file_descriptor_response", answer
        return [
            FileDescriptorProto.FromString(body)
            for body in answer.file_descriptor_response.file_descriptor_proto
        ]

    async def end(self) -> str:
        """Say that nothing more is asked, and return how the stream ended."""
        await self._call.done_writing()
        name: str = (await self._call.code()).name
        return name


@versions
async def test_every_service_is_listed(rig: Rig, version: str) -> None:
    stream = Stream(await rig.start(), version)

    answer = await stream.ask(list_services="*")

    assert {s.name for s in answer.list_services_response.service} == SERVED
    assert await stream.end() == "OK"


@versions
async def test_health_is_listed_only_where_it_is_served(rig: Rig, version: str) -> None:
    options = GrpcOptions(host=HOST, port=0, enable_health=False)
    stream = Stream(await rig.start(grpc=options), version)

    answer = await stream.ask(list_services="")

    names = {s.name for s in answer.list_services_response.service}
    assert names == SERVED - {"grpc.health.v1.Health"}


@versions
@pytest.mark.parametrize("service", sorted(SERVED))
async def test_a_service_and_all_that_it_needs_can_be_read(
    rig: Rig, version: str, service: str
) -> None:
    stream = Stream(await rig.start(), version)

    files = await stream.files(file_containing_symbol=service)
    known = {file.name: file for file in files}
    while missing := {d for file in known.values() for d in file.dependency} - known.keys():
        for name in missing:
            known.update({file.name: file for file in await stream.files(file_by_filename=name)})

    package, _, short = service.rpartition(".")
    (home,) = (
        file
        for file in known.values()
        if file.package == package and short in {s.name for s in file.service}
    )
    messages = {
        f".{file.package}.{message.name}"
        for file in known.values()
        for message in file.message_type
    }
    (described,) = (s for s in home.service if s.name == short)
    assert described.method
    for method in described.method:
        assert {method.input_type, method.output_type} <= messages


@versions
@pytest.mark.parametrize(
    "symbol",
    [
        "tensorflow.TensorProto",
        "tensorflow.serving.PredictRequest",
        "tensorflow.serving.PredictionService.Predict",
        "tensorflow.serving.SignatureDefMap",
    ],
)
async def test_messages_and_methods_are_found_by_name(rig: Rig, version: str, symbol: str) -> None:
    stream = Stream(await rig.start(), version)

    assert await stream.files(file_containing_symbol=symbol)


@versions
async def test_what_is_not_there_is_not_found_and_the_stream_goes_on(
    rig: Rig, version: str
) -> None:
    stream = Stream(await rig.start(), version)

    for request in (
        {"file_containing_symbol": "no.Such"},
        {"file_containing_symbol": "tensorflow.serving.PredictionService.NoSuch"},
        {"file_containing_symbol": "none"},
        {"file_by_filename": "no.proto"},
    ):
        answer = await stream.ask(**request)
        assert answer.error_response.error_code == 5
    assert await stream.files(file_containing_symbol="tensorflow.TensorProto")


async def test_streams_that_stay_open_keep_nobody_else_from_working(rig: Rig) -> None:
    client = await rig.start(1)
    streams = [Stream(client, V1) for _ in range(64)]
    for stream in streams:
        await stream.ask(list_services="*")

    rig.add_version(2)

    await rig.until_states({2: State.AVAILABLE})
    assert (await client.predict(1)).model_spec.version.value == 2
