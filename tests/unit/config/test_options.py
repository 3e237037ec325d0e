from __future__ import annotations

import re

import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.server import GrpcOptions
from sigrun.errors import InvalidArgument


def test_a_negative_number_of_retries_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^max_num_load_retries must be non-negative"):
        LifecycleOptions(max_num_load_retries=-1)


@pytest.mark.parametrize("timeout_s", [0, -1])
def test_no_time_to_wait_for_models_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidArgument, match=r"^the time to wait for models must be positive"):
        LifecycleOptions(settle_timeout_s=timeout_s)


def test_a_negative_time_for_files_to_stay_the_same_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^the time for which files must stay the same"):
        LifecycleOptions(quiet_s=-1)


@pytest.mark.parametrize(
    "name", ["intra_op_threads", "inter_op_threads", "runner_threads", "load_threads"]
)
def test_a_negative_number_of_threads_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name} must be 0 or more; got -1$"):
        ExecutionOptions(**{name: -1})  # type: ignore[arg-type]


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(
        InvalidArgument, match=r"^max_queued_runs_per_model must be 1 or more; got 0$"
    ):
        ExecutionOptions(max_queued_runs_per_model=0)


@pytest.mark.parametrize("name", ["max_run_s", "max_run_overtime_s", "max_load_s", "sample_runs_s"])
@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan")])
def test_a_limit_on_time_is_more_than_nothing(name: str, limit_s: float) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name} must be more than 0; got"):
        ExecutionOptions(**{name: limit_s})  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "cpus", "chosen"), [(0, 8, 8), (0, 0, 1), (3, 8, 3)])
def test_there_are_as_many_runner_threads_as_cpus_unless_given(
    given: int, cpus: int, chosen: int
) -> None:
    assert ExecutionOptions(runner_threads=given).choose_runner_threads(cpus) == chosen


@pytest.mark.parametrize(("given", "cpus", "chosen"), [(0, 8, 4), (0, 1, 1), (3, 8, 3)])
def test_half_of_the_cpus_load_models_unless_given(given: int, cpus: int, chosen: int) -> None:
    assert ExecutionOptions(load_threads=given).choose_load_threads(cpus) == chosen


def test_nowhere_to_listen_for_grpc_is_refused() -> None:
    text = (
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
    )

    with pytest.raises(InvalidArgument, match=f"^{re.escape(text)}$"):
        GrpcOptions(port=None)


def test_a_socket_is_enough_to_listen_for_grpc() -> None:
    assert GrpcOptions(port=None, socket_path="/run/sigrun.sock").port is None
