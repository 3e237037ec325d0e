"""A model that computes for long is flooded; another one beside it is served nearly as before."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from tests.conftest import SavedModel
from tests.e2e.conftest import model_config
from tests.e2e.process import predict_request, running_server
from tests.reliability.callers import PREDICT, Predict
from tests.reliability.conftest import IS_LONG, REPOSITORY

pytestmark = pytest.mark.asyncio

CALLS = 400 if IS_LONG else 20
ROUNDS = 3 if IS_LONG else 1
PAUSE_S = 0.01
STEPS = 2000  # of each request of the flood: some 100 ms
FEW_STEPS = 20  # of the neighbour's: too long for the event loop, short for a thread
PER_SECOND = 300.0
DEADLINE_S = 2.0
MOST_TIMES_AS_LONG = 5.0


@pytest.mark.parametrize("batching", [False, True] if IS_LONG else [False])
async def test_a_flooded_slow_model_leaves_its_neighbour_nearly_as_it_is(
    saved_model: SavedModel, tmp_path: Path, batching: bool
) -> None:
    for name in ("flooded", "innocent"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").symlink_to(saved_model("slow"))
    config = tmp_path / "models.config"
    config.write_text(model_config({name: tmp_path / name for name in ("flooded", "innocent")}))
    flags = [f"--model_config_file={config}", f"--enable_batching={str(batching).lower()}"]

    alone: list[float] = []
    beside: list[float] = []
    outcomes: list[dict[str, int]] = []
    with running_server(*flags) as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            predict: Predict = channel.unary_unary(
                PREDICT, response_deserializer=PredictResponse.FromString
            )
            await ask_in_turn(predict, 20)
            for _ in range(ROUNDS):  # in turn, as the machine has other work too
                alone += await ask_in_turn(predict, CALLS)
                process = begin_flood(server.grpc_address)
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline) == "floods\n"
                await asyncio.sleep(DEADLINE_S)
                beside += await ask_in_turn(predict, CALLS)
                process.terminate()
                said, _ = await asyncio.to_thread(process.communicate, timeout=60)
                outcomes.append(json.loads(said))
        log = server.log_text()

    alone.sort()
    beside.sort()
    times = p99(beside) / p99(alone)
    print(
        f"batching {batching}: alone median {alone[len(alone) // 2] * 1000:.1f} ms, p99 "
        f"{p99(alone) * 1000:.1f}; beside the flood median {beside[len(beside) // 2] * 1000:.1f} "
        f"ms, p99 {p99(beside) * 1000:.1f} ({times:.1f} times); the flood: {outcomes}"
    )
    for outcome in outcomes:
        assert outcome.keys() <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}, log
        assert outcome["OK"] > 0
        assert batching or outcome["UNAVAILABLE"] > 0  # in batches all of it can be served
    if IS_LONG:
        assert times < MOST_TIMES_AS_LONG


async def ask_in_turn(predict: Predict, count: int) -> list[float]:
    """Return how long calls took that were made one after the other, in seconds."""
    request = predict_request("innocent", n=np.array([FEW_STEPS])).SerializeToString()
    times_s = []
    for _ in range(count):
        began = time.monotonic()
        answer = await predict(request, timeout=60)
        times_s.append(time.monotonic() - began)
        assert list(answer.outputs["steps"].int64_val) == [FEW_STEPS]
        await asyncio.sleep(PAUSE_S)
    return times_s


def begin_flood(address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.reliability.flood", address]
    command += [str(PER_SECOND), str(STEPS), str(DEADLINE_S)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def p99(times_s: list[float]) -> float:
    """Return the time that one in a hundred exceeds; of a sorted list."""
    return times_s[len(times_s) * 99 // 100]
