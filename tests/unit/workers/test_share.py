"""Workers share what one process would have, and the supervisor keeps what is its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sigrun.config.batching import BatchingOptions
from sigrun.config.lifecycle import LifecycleOptions, VersionTransition
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, ServerConfig, Transport
from sigrun.errors import InvalidArgument
from sigrun.telemetry.lines import LogFormat
from sigrun.workers import process
from sigrun.workers.process import WorkerOptions
from sigrun.workers.supervisor import share_of

CONFIG = ServerConfig(
    models=ModelSet((ModelConfig(name="m", base_path="/m"),)),
    config_file=Path("/models.config"),
    lifecycle=LifecycleOptions(transition=VersionTransition.RESOURCE_PRESERVING),
    batching=BatchingOptions(),
    max_in_flight_bytes=1001,
    max_concurrent_requests=10,
    workers=3,
)


def test_threads_and_room_are_divided_and_rounded_up() -> None:
    share = share_of(CONFIG, cpus=16)

    assert share.execution.runner_threads == 6
    assert share.execution.load_threads == 3
    assert share.batching is not None
    assert share.batching.num_batch_threads == 6
    assert (share.max_in_flight_bytes, share.max_concurrent_requests) == (334, 4)


def test_a_worker_decides_nothing() -> None:
    share = share_of(CONFIG, cpus=16)

    assert (share.workers, share.config_file, share.models) == (1, None, ModelSet())
    assert share.lifecycle.transition is VersionTransition.AVAILABILITY_PRESERVING
    assert share.lifecycle.max_num_load_retries == 0


def test_a_worker_is_told_its_options_as_they_are() -> None:
    options = WorkerOptions(number=2, config=CONFIG, log_format=LogFormat.JSON, log_level=20)

    assert process.load(io.BytesIO(process.dump(options))) == options


@pytest.mark.parametrize(
    ("workers", "transport", "text"),
    [(0, Transport.OWN, "workers must be 1 or more; got 0"), (2, Transport.GRPCIO, "own")],
)
def test_workers_that_cannot_be_are_refused(workers: int, transport: Transport, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        ServerConfig(models=ModelSet(), grpc=GrpcOptions(transport=transport), workers=workers)
