"""TensorFlow's profiler client asks a whole server, in a process of its own, as it must be."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from sigrun.config.models import ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig
from sigrun.errors import AlreadyExists, InvalidArgument
from sigrun.executors.profiler import Profiler, TraceOptions
from sigrun.server import ModelServer

pytestmark = [pytest.mark.tensorflow, pytest.mark.asyncio]

TRACE = """
import sys
from tensorflow.python.profiler import profiler_client
profiler_client.trace("grpc://" + sys.argv[1], sys.argv[2], 300)
"""


@pytest.mark.timeout(180)
async def test_tensorflows_own_client_gets_a_trace_that_tensorboard_finds(tmp_path: Path) -> None:
    server = ModelServer(
        ServerConfig(
            models=ModelSet(()),
            grpc=GrpcOptions(host="127.0.0.1", port=0),
            http=HttpOptions(port=None),
        )
    )
    await server.start()
    await asyncio.to_thread(importlib.import_module, "tensorflow")  # as the first model does
    try:
        address = f"127.0.0.1:{server.grpc.port}"
        asked = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", TRACE, address, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        await server.stop(0)

    assert asked.returncode == 0, asked.stderr
    (trace,) = glob(f"{tmp_path}/plugins/profile/*/*.xplane.pb")
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    content = await asyncio.to_thread(Path(trace).read_bytes)
    space = xplane_pb2.XSpace.FromString(content)
    assert "/host:CPU" in {plane.name for plane in space.planes}


@pytest.mark.timeout(120)
async def test_one_trace_at_a_time_which_may_be_ended() -> None:
    profiler = Profiler()
    first = asyncio.create_task(profiler.trace("a", TraceOptions(duration_s=300)))
    await asyncio.sleep(0)

    with pytest.raises(AlreadyExists):
        await profiler.trace("b", TraceOptions(duration_s=1))
    assert not profiler.end("b")
    assert profiler.end("a")

    assert await first
    assert await profiler.trace("c", TraceOptions(duration_s=0.01))


@pytest.mark.parametrize("duration_s", [0, 301])
async def test_a_trace_has_a_length(duration_s: float) -> None:
    with pytest.raises(InvalidArgument, match="at most 300 s"):
        TraceOptions(duration_s=duration_s)
