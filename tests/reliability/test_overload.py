"""Ten times more than can be served: refusals are quick, answers right, and it ends at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc
import pytest

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from tests.reliability.callers import PREDICT, REQUEST, SLOW_REQUEST, Predict
from tests.reliability.conftest import IS_LONG, Begin
from tests.reliability.server import SLOW_S

pytestmark = pytest.mark.asyncio

CHANNELS = 4
MAX_REQUESTS = 40
CALLERS = 10 * MAX_REQUESTS
FOR_S = 60.0 if IS_LONG else 3.0
REFUSALS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
MEGABYTE = 1 << 20


@dataclass
class Overload:
    """What became of the calls; times are in seconds."""

    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    wrong: int = 0
    codes: Counter[grpc.StatusCode] = field(default_factory=Counter)


async def call(method: Predict, overload: Overload, until: float) -> None:
    """Call the slow model again and again; who is refused waits a little, as clients do."""
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            answer = await method(SLOW_REQUEST, timeout=30)
        except grpc.aio.AioRpcError as error:
            overload.codes[error.code()] += 1
            overload.refused_s.append(time.monotonic() - began)
            await asyncio.sleep(0.1)
        else:
            overload.answered_s.append(time.monotonic() - began)
            overload.wrong += list(answer.outputs["y"].float_val) != [2.5]


async def test_ten_times_too_much_is_refused_and_then_all_is_served(begin: Begin) -> None:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with begin(max_requests=MAX_REQUESTS) as server:
        before = server.rss_bytes
        channels = [
            grpc.aio.insecure_channel(server.grpc, options=options) for _ in range(CHANNELS)
        ]
        methods: list[Predict] = [
            channel.unary_unary(PREDICT, response_deserializer=PredictResponse.FromString)
            for channel in channels
        ]
        overload, until = Overload(), time.monotonic() + FOR_S
        await asyncio.gather(
            *(call(methods[n % CHANNELS], overload, until) for n in range(CALLERS))
        )
        grown = server.rss_bytes - before
        began = time.monotonic()
        for method in methods * 5:
            answer = await method(REQUEST, timeout=5)
            assert list(answer.outputs["y"].float_val) == [2.5]
        recovered_s = time.monotonic() - began
        await asyncio.gather(*(channel.close() for channel in channels))
        assert server.stop() == 0, server.log

    answered, refused = sorted(overload.answered_s), sorted(overload.refused_s)
    print(
        f"{len(answered)} answered, median {answered[len(answered) // 2]:.3f} s, p99 "
        f"{answered[len(answered) * 99 // 100]:.3f} s; {len(refused)} refused, median "
        f"{refused[len(refused) // 2] * 1000:.1f} ms, p99 "
        f"{refused[len(refused) * 99 // 100] * 1000:.1f} ms: {dict(overload.codes)}; "
        f"served again in {recovered_s:.3f} s; RSS {grown / MEGABYTE:+.1f} MB"
    )
    assert set(overload.codes) <= REFUSALS
    assert len(refused) > MAX_REQUESTS
    assert len(answered) >= MAX_REQUESTS
    assert not overload.wrong
    assert refused[len(refused) // 2] < 0.5  # the clients take their time as well
    assert answered[len(answered) // 2] < 10 * SLOW_S
    assert recovered_s < 1.0
    assert grown < 100 * MEGABYTE
