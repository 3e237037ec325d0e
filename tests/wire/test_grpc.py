"""What gRPC says and takes on the wire, on both transports, with grpcio as the client."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time

import grpc
import httpx
import pytest

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.config.server import GrpcOptions, Transport
from tests.wire.clients import NAME, PATIENCE_S, GrpcClient, failure, predict_request
from tests.wire.rig import GRPC, HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio

PREDICT = "/tensorflow.serving.PredictionService/Predict"
EVERY_TRANSPORT = pytest.mark.parametrize(
    "options",
    [dataclasses.replace(GRPC, transport=transport) for transport in Transport],
    ids=[transport.value for transport in Transport],
)


def method(client: GrpcClient) -> grpc.aio.UnaryUnaryMultiCallable[PredictRequest, PredictResponse]:
    return client.channel.unary_unary(
        PREDICT,
        request_serializer=PredictRequest.SerializeToString,
        response_deserializer=PredictResponse.FromString,
    )


def answer_of(response: PredictResponse) -> list[float]:
    return list(response.outputs["y"].float_val)


@EVERY_TRANSPORT
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read(
    rig: Rig, options: GrpcOptions, compression: grpc.Compression
) -> None:
    client = await rig.start(grpc=options)

    response = await method(client)(
        predict_request(*[1.0] * 4096), compression=compression, timeout=PATIENCE_S
    )

    assert answer_of(response) == [2.5] * 4096


async def test_a_message_that_inflates_to_too_much_is_refused(rig: Rig) -> None:
    options = dataclasses.replace(
        GRPC, channel_arguments={"grpc.max_receive_message_length": 100_000}
    )
    client = await rig.start(grpc=options)

    call = method(client)(
        predict_request(*[0.0] * 1_000_000),
        compression=grpc.Compression.Gzip,
        timeout=PATIENCE_S,
    )

    code, text = await failure(call)
    assert code == "RESOURCE_EXHAUSTED"
    assert text.startswith("Received message larger than max")


@EVERY_TRANSPORT
async def test_a_call_has_the_id_that_its_caller_gave(
    rig: Rig, options: GrpcOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await rig.start(grpc=options, access_log=True)

    call = method(client)(
        predict_request(1), metadata=(("x-request-id", "abc-7"),), timeout=PATIENCE_S
    )
    await call
    trailers = dict(await call.trailing_metadata())
    await rig.stop()  # lines may come a little later than answers, and none is lost

    assert trailers["x-request-id"] == "abc-7"
    line = "grpc tensorflow.serving.PredictionService/Predict OK by half_plus_two:1 serving_default"
    assert line in caplog.text


@EVERY_TRANSPORT
async def test_a_call_that_fails_is_told_its_id_too(rig: Rig, options: GrpcOptions) -> None:
    client = await rig.start(grpc=options)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await method(client)(predict_request(1, name="nothing"), timeout=PATIENCE_S)

    assert dict(failed.value.trailing_metadata())["x-request-id"]


@EVERY_TRANSPORT
async def test_texts_of_errors_arrive_whole_whatever_is_in_them(
    rig: Rig, options: GrpcOptions
) -> None:
    client = await rig.start(grpc=options)

    code, text = await failure(client.predict(1, name="ä%\n✓"))

    assert code == "NOT_FOUND"
    assert "ä%\n✓" in text


@EVERY_TRANSPORT
async def test_a_call_whose_time_is_up_is_answered_by_the_server(
    rig: Rig, options: GrpcOptions
) -> None:
    client = await rig.start(grpc=options)
    servable = rig.servable()
    servable.gate.clear()
    began = time.monotonic()

    call = method(client)(predict_request(1), timeout=0.3)

    code, _ = await failure(call)
    assert code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began < PATIENCE_S
    servable.gate.set()


@EVERY_TRANSPORT
async def test_a_call_that_its_client_cancels_is_given_up(rig: Rig, options: GrpcOptions) -> None:
    client = await rig.start(grpc=options)
    servable = rig.servable()
    servable.gate.clear()
    call = method(client)(predict_request(1), timeout=PATIENCE_S)
    await servable.started.wait()

    call.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while not servable.cancelled:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


@EVERY_TRANSPORT
async def test_a_service_and_a_method_that_are_not_there_are_unimplemented(
    rig: Rig, options: GrpcOptions
) -> None:
    client = await rig.start(grpc=options)

    for path in ("/no.Service/Predict", "/tensorflow.serving.PredictionService/Guess"):
        code, _ = await failure(client.send(path, b""))
        assert code == "UNIMPLEMENTED"


@EVERY_TRANSPORT
@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health/Check", "/tensorflow.serving.PredictionService/Classify"]
)
async def test_garbage_is_the_callers_mistake(rig: Rig, options: GrpcOptions, path: str) -> None:
    client = await rig.start(grpc=options)

    code, text = await failure(client.send(path, b"\xff\xff\xff"))

    assert code == "INVALID_ARGUMENT"
    assert text.startswith("The 3 bytes sent are not a ")


@EVERY_TRANSPORT
@pytest.mark.parametrize(
    "path",
    ["/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"],
)
async def test_garbage_in_a_stream_is_the_callers_mistake(
    rig: Rig, options: GrpcOptions, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = await rig.start(grpc=options)
    stream = client.channel.stream_stream(path, bytes, bytes)(timeout=PATIENCE_S)

    await stream.write(b"\xff\xff\xff")
    await stream.done_writing()

    assert await stream.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in caplog.text


@EVERY_TRANSPORT
async def test_a_stream_ends_at_its_deadline(rig: Rig, options: GrpcOptions) -> None:
    client = await rig.start(grpc=options)
    watch = client.channel.unary_stream("/grpc.health.v1.Health/Watch", bytes, bytes)

    stream = watch(b"", timeout=0.3)
    assert await stream.read()

    assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_what_is_not_grpc_is_told_what_this_port_speaks(rig: Rig) -> None:
    await rig.start()

    async with httpx.AsyncClient(http2=False, http1=True, timeout=PATIENCE_S) as client:
        response = await client.get(f"http://{HOST}:{rig.server.grpc.port}/v1/models")

    assert response.status_code == 415
    assert "HTTP port" in response.text


async def test_one_port_can_serve_everything(rig: Rig) -> None:
    await rig.start(http=HTTP)
    assert rig.server.http is not None
    port = rig.server.http.port
    client = GrpcClient(grpc.aio.insecure_channel(f"{HOST}:{port}"))

    response = await client.predict(1)
    json = await rig.http().post(f"/v1/models/{NAME}:predict", json={"instances": [1]})
    await client.channel.close()

    assert answer_of(response) == json.json()["predictions"] == [2.5]


async def test_a_call_without_its_one_message_is_refused(rig: Rig) -> None:
    client = await rig.start()

    empty = client.channel.stream_unary(PREDICT, bytes, bytes)(timeout=PATIENCE_S)
    await empty.done_writing()
    two = client.channel.stream_unary(PREDICT, bytes, bytes)(timeout=PATIENCE_S)
    await two.write(b"")
    await two.write(b"")
    await two.done_writing()

    assert (await failure(empty))[0] == "INTERNAL"
    assert (await failure(two))[0] == "UNIMPLEMENTED"


async def test_the_chains_first_user_is_on_the_metrics_page(rig: Rig) -> None:
    client = await rig.start(http=HTTP)
    await client.predict(1)
    await rig.http().post(f"/v1/models/{NAME}:predict", json={"instances": [1]})
    await failure(client.predict(1, name="nothing"))

    page = (await rig.http().get("/metrics")).text

    what = f'method="Predict",model="{NAME}",signature="serving_default",version="1"'
    for door in ("grpc", "rest"):
        assert f'sigrun_requests_total{{code="OK",door="{door}",{what}}} 1.0' in page
    assert f':tensorflow:serving:request_count{{model_name="{NAME}",status="OK"}} 2.0' in page
    assert ':tensorflow:serving:request_count{model_name="",status="NOT_FOUND"} 1.0' in page
    what = f'code="OK",door="rest",{what}'
    assert f"sigrun_request_duration_seconds_count{{{what}}} 1.0" in page
