"""A process that is full refuses at once, and serves everything again when the flood is over."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
from collections.abc import Mapping

import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from sigrun.config.server import Transport
from sigrun.errors import Unavailable
from sigrun.tensors.signature import Array
from tests.fakes.servables import FakeServable
from tests.wire.clients import NAME, PATIENCE_S, GrpcClient, failure, predict_request
from tests.wire.rig import GRPC, HOST, HTTP, Rig
from tests.wire.transport.h2_client import H2Client

pytestmark = pytest.mark.asyncio

MEGABYTE = 1 << 20
PREDICT = f"/v1/models/{NAME}:predict"
RPC = "/tensorflow.serving.PredictionService/Predict"
RESOURCE_EXHAUSTED = "8"


async def in_flight_bytes(http: httpx.AsyncClient) -> int:
    text = (await http.get("/metrics")).text
    (line,) = (line for line in text.splitlines() if line.startswith("sigrun_in_flight_bytes "))
    return int(float(line.split()[1]))


async def is_as_before(rig: Rig, http: httpx.AsyncClient) -> None:
    """Wait until nothing is held any more, and see that all doors serve."""
    async with asyncio.timeout(PATIENCE_S):
        while await in_flight_bytes(http):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    many = [1.0] * 100_000
    rest = await http.post(PREDICT, content=json.dumps({"instances": many}))
    rpc = await rig.client().predict(*many)
    assert rest.status_code == 200
    assert len(rpc.outputs["y"].float_val) == 100_000


async def test_bodies_that_do_not_end_are_refused_beyond_the_budget(rig: Rig) -> None:
    await rig.start(http=HTTP, max_in_flight_bytes=4 * MEGABYTE)
    http = rig.http()
    assert rig.server.http is not None
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: {3 * MEGABYTE}\r\n\r\n".encode()
    port = rig.server.http.port
    flood = [await asyncio.open_connection(HOST, port) for _ in range(20)]

    for _, writer in flood:
        writer.write(head + b" " * MEGABYTE)
    refused = await answers_of(flood)

    assert 10 <= len(refused) < 20
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer.lower()
        assert b"bytes are in flight, of 4194304 (--max_in_flight_bytes)" in answer
        assert b"RESOURCE_EXHAUSTED" in answer
    assert 0 < await in_flight_bytes(http) <= 5 * MEGABYTE
    for _, writer in flood:
        writer.transport.abort()
    await is_as_before(rig, http)


async def answers_of(
    flood: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> list[bytes]:
    """Return what those clients are told that are told anything within a second."""
    told = [asyncio.create_task(reader.read(2000)) for reader, _ in flood]
    done, waiting = await asyncio.wait(told, timeout=1.0)
    for task in waiting:
        task.cancel()
    return [task.result() for task in done]


async def test_messages_that_do_not_end_are_refused_over_grpc(rig: Rig) -> None:
    await rig.start(http=HTTP, max_in_flight_bytes=2 * MEGABYTE)
    clients = [await H2Client().connect(rig.server.grpc.port) for _ in range(8)]
    frame = b"\0" + (4 * MEGABYTE).to_bytes(4, "big") + b"\0" * MEGABYTE

    streams = [client.begin(RPC, ends=False) for client in clients]
    sending = [
        asyncio.create_task(client.send(stream, frame, ends=False))
        for client, stream in zip(clients, streams, strict=True)
    ]
    first = [
        asyncio.create_task(client.answers[stream].done.wait())
        for client, stream in zip(clients, streams, strict=True)
    ]
    done, _ = await asyncio.wait(first, timeout=1.0)

    answers = [client.answers[stream] for client, stream in zip(clients, streams, strict=True)]
    refused = [answer for answer in answers if answer.done.is_set()]
    assert 4 <= len(done) == len(refused) < 8
    assert {answer.headers["grpc-status"] for answer in refused} == {RESOURCE_EXHAUSTED}
    for task in (*sending, *first):
        task.cancel()
    await asyncio.gather(*sending, *first, return_exceptions=True)
    for client in clients:
        await client.close()
    await is_as_before(rig, rig.http())


async def test_what_bodies_inflate_to_counts(rig: Rig) -> None:
    await rig.start(http=HTTP, max_in_flight_bytes=20 * MEGABYTE)
    http = rig.http()
    bomb = gzip.compress(b'{"instances": [1.0]' + b" " * 8 * MEGABYTE + b"}")
    headers = {"content-encoding": "gzip"}

    answers = await asyncio.gather(
        *(http.post(PREDICT, content=bomb, headers=headers) for _ in range(12))
    )

    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}, statuses
    assert all(a.json() == {"predictions": [2.5]} for a in answers if a.status_code == 200)
    await is_as_before(rig, http)


async def test_answers_that_nobody_takes_count(rig: Rig) -> None:
    await rig.start(http=HTTP, max_in_flight_bytes=2 * MEGABYTE)
    http = rig.http()
    client = await H2Client(takes_data=False).connect(rig.server.grpc.port)
    message = predict_request(*[1.0] * 50_000).SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message

    streams = [client.begin(RPC, ends=False) for _ in range(30)]
    sending = [asyncio.create_task(client.send(stream, frame)) for stream in streams]
    async with asyncio.timeout(PATIENCE_S):
        while not any(answer.done.is_set() for answer in client.answers.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    refused = [answer for answer in client.answers.values() if answer.done.is_set()]
    assert {answer.headers["grpc-status"] for answer in refused} == {RESOURCE_EXHAUSTED}
    assert await in_flight_bytes(http) < 4 * MEGABYTE
    small = await http.post(PREDICT, json={"instances": [1.0]})
    assert small.json() == {"predictions": [2.5]}  # of somebody who leaves nothing unread
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    await client.close()
    await is_as_before(rig, http)


async def test_requests_beyond_their_number_are_refused_in_the_words_of_every_door(
    rig: Rig,
) -> None:
    """REST says 503, as it is the server that is full; Connect has 429 for this code."""
    client = await rig.start(http=HTTP, max_concurrent_requests=1)
    http, waiting = rig.http(), await one_that_waits(rig, client)
    message = predict_request(1).SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message

    grpc = await failure(client.predict(1))
    rest = await http.post(PREDICT, json={"instances": [1.0]})
    connect = await http.post(RPC, content=message, headers={"content-type": "application/proto"})
    grpc_web = await http.post(
        RPC, content=frame, headers={"content-type": "application/grpc-web+proto"}
    )

    text = "The server is full: 1 requests are in flight, of 1 (--max_concurrent_requests)"
    assert grpc == ("RESOURCE_EXHAUSTED", text)
    assert (rest.status_code, rest.json()) == (503, {"error": text, "code": "RESOURCE_EXHAUSTED"})
    assert connect.status_code == 429
    assert connect.json() == {"code": "resource_exhausted", "message": text}
    assert grpc_web.status_code == 200
    assert b"grpc-status: 8\r\n" in grpc_web.content
    for response in (rest, connect, grpc_web):
        assert response.headers["retry-after"] == "1"
    assert (await http.get("/readyz")).status_code == 200
    rig.servable().gate.set()
    assert list((await waiting).outputs["y"].float_val) == [2.5]
    await is_as_before(rig, http)


async def one_that_waits(rig: Rig, client: GrpcClient) -> asyncio.Task[PredictResponse]:
    servable = rig.servable()
    servable.gate.clear()
    waiting = asyncio.create_task(client.predict(1))
    await servable.started.wait()
    return waiting


async def test_a_queue_that_is_full_is_unavailable_at_every_door(rig: Rig) -> None:
    def refuse(_: Mapping[str, Array]) -> Mapping[str, Array]:
        raise Unavailable("The queue is full")

    rig.servables[f"{NAME}:1"] = FakeServable(compute=refuse)
    client = await rig.start(http=HTTP)
    http, message = rig.http(), predict_request(1).SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message

    rest = await http.post(PREDICT, json={"instances": [1.0]})
    connect = await http.post(RPC, content=message, headers={"content-type": "application/proto"})
    grpc_web = await http.post(
        RPC, content=frame, headers={"content-type": "application/grpc-web+proto"}
    )

    assert await failure(client.predict(1)) == ("UNAVAILABLE", "The queue is full")
    assert (rest.status_code, rest.json()["code"]) == (503, "UNAVAILABLE")
    assert (connect.status_code, connect.json()["code"]) == (503, "unavailable")
    assert b"grpc-status: 14\r\n" in grpc_web.content


async def test_grpcio_is_under_the_budget_too(rig: Rig) -> None:
    options = dataclasses.replace(GRPC, transport=Transport.GRPCIO)
    client = await rig.start(
        http=HTTP, grpc=options, max_concurrent_requests=1, max_in_flight_bytes=10_000
    )

    too_large = await failure(client.predict(*[1.0] * 5_000))
    waiting = await one_that_waits(rig, client)
    one_too_many = await failure(client.predict(1))
    health = await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest())

    code, text = too_large
    assert code == "RESOURCE_EXHAUSTED"
    assert "bytes are in flight, of 10000 (--max_in_flight_bytes)" in text
    assert one_too_many == (
        "RESOURCE_EXHAUSTED",
        "The server is full: 1 requests are in flight, of 1 (--max_concurrent_requests)",
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    rig.servable().gate.set()
    assert list((await waiting).outputs["y"].float_val) == [2.5]
    assert await in_flight_bytes(rig.http()) == 0
