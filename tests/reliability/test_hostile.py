"""Requests that chance has changed, over every door: each is answered or refused, never with a
failure of the server's own, and the service goes on in between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from sigrun._gen import POOL
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.tensors.signature import DType
from sigrun.wire.protobuf import tensors
from tests.reliability.callers import Tally, call_grpc, call_http
from tests.reliability.conftest import IS_LONG, Begin, Victim
from tests.reliability.mutations import mutated
from tests.wire.clients import METHODS, input_of, spec_of
from tests.wire.rest_rules import CASES
from tests.wire.transport.h2_client import H2Client

pytestmark = pytest.mark.asyncio

REQUESTS = 100_000 if IS_LONG else 2_000  # over all doors together
LANES = 4  # connections of each door at a time
PATIENCE_S = 30.0
MOST_GROWTH = 150 << 20

# What says that a request was not right, in gRPC and in HTTP. Others would be the server's fault.
CODES = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "UNIMPLEMENTED",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",  # a tensor that would become too large is refused like what finds no room
    "DEADLINE_EXCEEDED",
}
STATUSES = {200, 204, 400, 404, 405, 408, 411, 413, 414, 415, 417, 429, 431, 501, 503, 504, 505}


def _messages() -> list[tuple[str, Message]]:
    """Return a method and a message that is right, for all of them but a reload."""
    rest = spec_of(name="rest")
    kinds = [DType.FLOAT, DType.INT64, DType.STRING, DType.HALF, DType.BOOL, DType.COMPLEX64]
    predicts: list[PredictRequest] = []
    for kind in kinds:
        array = np.array([b"a", b"bc"], object) if kind is DType.STRING else np.ones(2, kind.numpy)
        request = PredictRequest(model_spec=rest, inputs={"x": tensors.encode(array)})
        request.model_spec.signature_name = f"echo_{kind.name.lower()}"
        predicts.append(request)
    with_content = PredictRequest(model_spec=rest, inputs={"x": predicts[0].inputs["x"]})
    with_content.inputs["x"].float_val.clear()
    with_content.inputs["x"].tensor_content = np.ones(2, np.float32).tobytes()
    classify = ClassificationRequest(model_spec=rest, input=input_of("a", "b"))
    classify.model_spec.signature_name = "classify"
    regress = RegressionRequest(model_spec=rest, input=input_of("a"))
    regress.model_spec.signature_name = "regress"
    several = MultiInferenceRequest(input=input_of("a"))
    several.tasks.add(model_spec=classify.model_spec, method_name="tensorflow/serving/classify")
    several.tasks.add(model_spec=regress.model_spec, method_name="tensorflow/serving/regress")
    messages: list[Message] = [
        *predicts,
        with_content,
        classify,
        regress,
        several,
        GetModelMetadataRequest(model_spec=rest, metadata_field=["signature_def"]),
        GetModelStatusRequest(model_spec=rest),
    ]
    return [
        *((METHODS[type(message)][0], message) for message in messages),
        ("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="rest")),
    ]


Calls = Sequence[tuple[str, bytes]]
MESSAGES: Calls = [(method, message.SerializeToString()) for method, message in _messages()]
AS_JSON: Calls = [
    (method, json_format.MessageToJson(message, indent=None, descriptor_pool=POOL).encode())
    for method, message in _messages()
    if "Health" not in method
]
BYTES = [message for _, message in MESSAGES]
# Of the model's signatures one never answers, and some fail as the server must not.
JSON_CASES = [
    (case.method, case.target, case.body.encode())
    for case in CASES
    if "fails_" not in case.body and '"slow"' not in case.body and case.status < 500
]
JSON_BODIES = [body for _, _, body in JSON_CASES]

Outcomes = Counter[str]
Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
Lane = Callable[[Victim, random.Random, int, Outcomes], Coroutine[Any, Any, None]]


async def grpc_lane(server: Victim, chance: random.Random, count: int, seen: Outcomes) -> None:
    """Send messages that may be none."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(server.grpc, options=options) as channel:
        for _ in range(count):
            method, message = chance.choice(MESSAGES)
            rpc: Unary = channel.unary_unary(method)
            call = rpc(mutated(chance, message, BYTES), timeout=PATIENCE_S)
            seen[f"gRPC {(await call.code()).name}"] += 1


async def json_lane(server: Victim, chance: random.Random, count: int, seen: Outcomes) -> None:
    """Send bodies, and now and then targets, that are not right."""

    def request() -> bytes:
        method, target, body = chance.choice(JSON_CASES)
        if chance.random() < 0.2:
            target = mutated(chance, target.encode(), JSON_BODIES).hex()[:200]
            target = f"/v1/models/{target}:predict"
        body = mutated(chance, body, JSON_BODIES)
        return _http1(method, target, "application/json", body)

    await _http_lane("JSON", server.http_port, request, count, seen)


def _rpc_lane(
    name: str, content_type: str, calls: Calls, framed: Callable[[bytes], bytes] = bytes
) -> Lane:
    seeds = [message for _, message in calls]

    async def lane(server: Victim, chance: random.Random, count: int, seen: Outcomes) -> None:
        def request() -> bytes:
            method, message = chance.choice(calls)
            if chance.random() < 0.5:
                body = framed(mutated(chance, message, seeds))
            else:
                body = mutated(chance, framed(message), seeds)
            return _http1("POST", method, content_type, body)

        await _http_lane(name, server.http_port, request, count, seen)

    return lane


async def h2_json_lane(server: Victim, chance: random.Random, count: int, seen: Outcomes) -> None:
    """Send JSON over HTTP/2."""
    client = await H2Client().connect(server.http_port)
    for _ in range(count):
        if not client.may_begin:
            await client.close()
            client = await H2Client().connect(server.http_port)
        method, target, body = chance.choice(JSON_CASES)
        stream = client.begin(target, method=method, ends=False, content_type="application/json")
        await client.send(stream, mutated(chance, body, JSON_BODIES))
        answer = await client.answer(stream)
        del client.answers[stream]
        seen[f"HTTP/2 {answer.status}"] += 1
    await client.close()


async def bytes_lane(server: Victim, chance: random.Random, count: int, seen: Outcomes) -> None:
    """Send connections whose every byte may be wrong, to both ports; any end of them will do."""
    client = H2Client()
    client.h2.initiate_connection()
    stream = client.h2.get_next_available_stream_id()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", MESSAGES[0][0]),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    client.h2.send_headers(stream, headers)
    client.h2.send_data(stream, _grpc_frame(MESSAGES[0][1]), end_stream=True)
    seeds = [client.h2.data_to_send()]
    seeds += [
        _http1("POST", target, "application/json", body) for _, target, body in JSON_CASES[:20]
    ]
    for _ in range(count):
        port = chance.choice([server.grpc_port, server.http_port])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(mutated(chance, chance.choice(seeds), seeds))
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                while await reader.read(1 << 16):
                    pass
        writer.transport.abort()
        seen["bytes"] += 1


async def _http_lane(
    name: str, port: int, make: Callable[[], bytes], count: int, seen: Outcomes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        request = make()
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.lower().partition(b"content-length: ")[2]
            size = int(fields.partition(b"\r\n")[0]) if fields else 0
            body = await reader.readexactly(size)
        seen[f"{name} {_code(name, int(head.split()[1]), body)}"] += 1
        if b"connection: close" in head.lower():
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


def _code(door: str, status: int, body: bytes) -> str:
    """Return what is told of an answer: the status of HTTP or, in gRPC-Web's body, of gRPC."""
    if status != 200 or not door.startswith("gRPC-Web"):
        return str(status)
    frames = base64.b64decode(body) if door == "gRPC-Web text" else body
    code = int(frames.rpartition(b"grpc-status:")[2].split()[0])
    return next(known.name for known in grpc.StatusCode if known.value[0] == code)


def _http1(method: str, target: str, content_type: str, body: bytes) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _grpc_frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


LANES_BY_DOOR: Sequence[Lane] = (
    grpc_lane,
    json_lane,
    _rpc_lane("gRPC-Web", "application/grpc-web", MESSAGES, _grpc_frame),
    _rpc_lane(
        "gRPC-Web text",
        "application/grpc-web-text",
        MESSAGES,
        lambda message: base64.b64encode(_grpc_frame(message)),
    ),
    _rpc_lane("Connect", "application/proto", MESSAGES),
    _rpc_lane("Connect JSON", "application/json", AS_JSON),
    h2_json_lane,
    bytes_lane,
)


async def test_what_chance_makes_of_requests_is_answered_or_refused(begin: Begin) -> None:
    count = REQUESTS // (LANES * len(LANES_BY_DOOR))
    seen: Outcomes = Counter()
    with begin() as server:
        before = server.rss_bytes
        served, end = Tally(), asyncio.Event()
        others = [
            asyncio.create_task(call_grpc(server.grpc, served, end)),
            asyncio.create_task(call_http(server.http_port, served, end)),
        ]
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for seed in range(LANES):
                for number, lane in enumerate(LANES_BY_DOOR):
                    chance = random.Random(seed * len(LANES_BY_DOOR) + number)
                    tasks.create_task(lane(server, chance, count, seen))
        took_s = time.monotonic() - began
        end.set()
        await asyncio.gather(*others)
        grown = server.rss_bytes - before
        assert server.stop() == 0
        log = "".join(server.log)

    print(
        f"{sum(seen.values())} requests in {took_s:.0f} s: {dict(sorted(seen.items()))}; "
        f"{served.answered} right ones answered beside them; RSS {grown / (1 << 20):+.1f} MiB"
    )
    assert "Traceback" not in log, log
    assert served.are_all_accounted_for, served
    assert served.answered > 100
    assert {outcome for outcome in seen if not _is_as_told(outcome)} == set()
    assert grown < MOST_GROWTH


def _is_as_told(outcome: str) -> bool:
    door, _, code = outcome.rpartition(" ")
    return not door or (int(code) in STATUSES if code.isdecimal() else code in CODES)
