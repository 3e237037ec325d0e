"""Runs that never end in as many threads as there are: others are served, and SIGTERM ends it."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from sigrun.concurrency.cpus import available_cpus
from tests.e2e.conftest import model_config
from tests.e2e.process import predict_request, running_server
from tests.reliability.callers import PREDICT, Predict
from tests.reliability.conftest import IS_LONG
from tests.tensorflow.runaway import endless

pytestmark = pytest.mark.asyncio

GRACE_S = 2.0
LEEWAY_S = 5.0
OVERTIME_S = 60.0  # longer than the test: nothing is written off, the loops keep their threads
LOOPS = max(2, available_cpus())  # as many as there are runner threads
FOR_S = 30.0 if IS_LONG else 2.0
WITHIN_S = 5.0


@pytest.fixture(scope="module")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("endless") / "1"
    endless(path)
    return path


@pytest.mark.parametrize("batching", [False, True] if IS_LONG else [False])
async def test_a_neighbour_of_endless_loops_is_served_and_the_process_ends(
    endless_model: Path, tmp_path: Path, batching: bool
) -> None:
    paths = {name: tmp_path / name for name in ("loops", "innocent")}
    for path in paths.values():
        shutil.copytree(endless_model, path / "1")
    config = tmp_path / "models.config"
    config.write_text(model_config(paths))
    flags = [
        f"--model_config_file={config}",
        f"--shutdown_grace_seconds={GRACE_S}",
        f"--max_run_overtime_seconds={OVERTIME_S}",
        f"--enable_batching={str(batching).lower()}",
    ]
    loops = predict_request("loops", "spin", x=np.zeros(1, np.float32)).SerializeToString()
    ends = predict_request("innocent", "spin", x=np.ones(1, np.float32)).SerializeToString()

    with running_server(*flags) as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            predict: Predict = channel.unary_unary(
                PREDICT, response_deserializer=PredictResponse.FromString
            )
            await predict(ends, timeout=60)
            given_up = [predict(loops, timeout=0.5) for _ in range(LOOPS)]
            codes = [await call.code() for call in given_up]
            still_there = [predict(loops) for _ in range(LOOPS)]
            times_s: list[float] = []
            until = time.monotonic() + FOR_S
            while time.monotonic() < until:
                began = time.monotonic()
                answer = await predict(ends, timeout=60)
                times_s.append(time.monotonic() - began)
                assert list(answer.outputs["y"].float_val) == [2.0]
            began = time.monotonic()
            server.process.terminate()
            await asyncio.to_thread(server.process.wait, 60)
            ended_s = time.monotonic() - began
            for call in still_there:
                assert await call.code() is not grpc.StatusCode.OK
        log = server.log_text()

    times_s.sort()
    print(
        f"{2 * LOOPS} endless runs for {LOOPS} threads, batching {batching}: {len(times_s)} calls "
        f"of the neighbour answered, median {times_s[len(times_s) // 2] * 1000:.1f} ms, slowest "
        f"{times_s[-1] * 1000:.0f} ms; ended {ended_s:.1f} s after SIGTERM, grace {GRACE_S:g} s"
    )
    assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}, log
    if IS_LONG:
        assert times_s[-1] < WITHIN_S
        assert ended_s < GRACE_S + LEEWAY_S, log
