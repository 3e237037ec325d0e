"""Calls that are given up by the dozen, beside others on the same connection that are not."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from tests.reliability.callers import PREDICT, REQUEST, SLOW_REQUEST, Predict
from tests.reliability.conftest import Begin

pytestmark = pytest.mark.asyncio


async def test_deadlines_that_pass_and_calls_that_are_cancelled_harm_nobody(begin: Begin) -> None:
    """600 calls with 50 ms for a model that takes 200, 1,000 cancelled ones, 10 that wait."""
    with begin() as server:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            method: Predict = channel.unary_unary(
                PREDICT, response_deserializer=PredictResponse.FromString
            )
            await method(REQUEST)
            calm = [asyncio.ensure_future(method(SLOW_REQUEST, timeout=60)) for _ in range(10)]
            outcomes = []
            for _ in range(10):
                hasty = [method(SLOW_REQUEST, timeout=0.05) for _ in range(60)]
                leaving = [method(SLOW_REQUEST) for _ in range(100)]
                await asyncio.sleep(0.02)
                for call in leaving:
                    call.cancel()
                outcomes += await asyncio.gather(*map(outcome, hasty))
            answers = await asyncio.gather(*calm)
            after = await method(REQUEST, timeout=60)

    assert set(outcomes) == {"DEADLINE_EXCEEDED"}
    assert [list(answer.outputs["y"].float_val) for answer in (*answers, after)] == [[2.5]] * 11


async def outcome(call: grpc.aio.UnaryUnaryCall[bytes, PredictResponse]) -> str:
    return (await call.code()).name
