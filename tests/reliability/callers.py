"""Callers who ask one thing after the other, and count what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from tests.wire.clients import NAME, predict_request

Predict = grpc.aio.UnaryUnaryMultiCallable[bytes, PredictResponse]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
REQUEST = predict_request(1).SerializeToString()
SLOW_REQUEST = predict_request(1, name="slow").SerializeToString()
JSON_REQUEST = json.dumps({"instances": [1]}).encode()


# What gRPC says of a call that reached no server. Its retries are as they are by default: a call
# that no server has begun (its stream crossed the last GOAWAY, say) is sent again, no other is.
_NEVER_SENT = "failed to connect"


IsRight = Callable[[int | None, list[float]], bool]
"""Whether these values are what this version answers; JSON does not say which version it was."""


def half_plus_two_is_right(_: int | None, values: list[float]) -> bool:
    """Judge the answer of the tutorial's model to 1."""
    return values == [2.5]


@dataclass
class Tally:
    """What became of requests. One that was sent and got no answer is lost."""

    answered: int = 0
    wrong: int = 0
    refused: int = 0  # never sent: the port was closed, or the server said it was draining
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def are_all_accounted_for(self) -> bool:
        """Whether nothing was lost and nothing was wrong."""
        return not self.lost and not self.wrong


async def call_grpc(
    address: str,
    tally: Tally,
    end: asyncio.Event,
    is_right: IsRight = half_plus_two_is_right,
) -> None:
    """Call Predict until the server is gone or `end` is set."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        method: Predict = channel.unary_unary(
            PREDICT, response_deserializer=PredictResponse.FromString
        )
        while not end.is_set():
            try:
                answer = await method(REQUEST)
            except grpc.aio.AioRpcError as error:
                if _NEVER_SENT in (error.details() or ""):
                    tally.refused += 1
                    return
                tally.lost[f"{error.code().name}: {error.details()}"] += 1
                return
            tally.answered += 1
            version = answer.model_spec.version.value
            tally.wrong += not is_right(version, list(answer.outputs["y"].float_val))


async def call_http(
    port: int,
    tally: Tally,
    end: asyncio.Event,
    is_right: IsRight = half_plus_two_is_right,
) -> None:
    """Ask over one connection that is kept, and over a new one when it was closed in order."""
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nhost: x\r\n".encode()
    request = head + b"content-length: %d\r\n\r\n" % len(JSON_REQUEST) + JSON_REQUEST
    while not end.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            tally.refused += 1
            return
        try:
            streams = (reader, writer)
            await _ask_again_and_again(streams, request, tally, end, is_right)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.lost[f"HTTP: {type(error).__name__}"] += 1
            return
        finally:
            writer.close()


async def _ask_again_and_again(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    request: bytes,
    tally: Tally,
    end: asyncio.Event,
    is_right: IsRight,
) -> None:
    reader, writer = streams
    while not end.is_set():
        writer.write(request)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        length = int(answer_head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if not answer_head.startswith(b"HTTP/1.1 200 "):
            tally.lost[f"HTTP: {body.decode(errors='replace')}"] += 1
            return
        tally.answered += 1
        tally.wrong += not is_right(None, json.loads(body)["predictions"])
        if b"connection: close" in answer_head.lower():
            return
