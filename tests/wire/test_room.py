"""A process that is full refuses at once, and serves everything again when the flood is over."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import pytest

from tests.wire.clients import NAME, PATIENCE_S, predict_request
from tests.wire.rig import HOST, HTTP, Rig
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
