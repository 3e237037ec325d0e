"""The console scripts: flags, mistakes, signals, logs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sigrun._gen.tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tests.conftest import MakeBasePath
from tests.e2e.conftest import Serve, model_config
from tests.e2e.process import RunningServer, predict_request

SCRIPTS = Path(sys.executable).parent


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_names_this_server_and_tensorflow() -> None:
    done = run("tensorflow_model_server", "--version")

    assert done.returncode == 0
    assert "TensorFlow ModelServer: " in done.stdout
    assert "TensorFlow Library: 2." in done.stdout


def test_an_unknown_flag_is_refused_with_the_nearest_known_one() -> None:
    done = run("tensorflow_model_server", "--model_basepath=/tmp")

    assert done.returncode == 255
    assert "unknown argument: --model_basepath=/tmp; did you mean --model_base_path?" in done.stderr


def test_a_mistake_in_the_config_file_is_named_by_line_and_column(tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    config.write_text('model_config_list {\n  config { nam: "half" }\n}\n')

    done = run("sigrun", "serve", f"--model_config_file={config}")

    assert done.returncode == 2
    assert f"Invalid protobuf file: '{config}'" in done.stderr
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 2:12: " in done.stderr


def test_a_base_path_without_versions_is_refused_at_once(tmp_path: Path) -> None:
    done = run("sigrun", "serve", str(tmp_path))

    assert done.returncode == 2
    assert "Did you forget to name your leaf directory as a number" in done.stderr


def test_a_server_whose_only_model_is_broken_says_why_and_fails(
    make_base_path: MakeBasePath,
) -> None:
    base_path = make_base_path({1: "truncated_graph"})

    done = run(
        "tensorflow_model_server",
        f"--model_base_path={base_path}",
        "--model_name=broken",
        "--port=0",
        f"--grpc_socket_path={base_path}/socket",
    )

    assert done.returncode == 255
    assert "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: " in (
        done.stderr
    )
    assert "{name: broken version: 1} due to error: " in done.stderr


def test_tensorflow_is_imported_once_by_models_that_load_side_by_side(
    serve: Serve, shared_base_paths: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "models.config"
    config.write_text(model_config(shared_base_paths))

    server = serve(f"--model_config_file={config}", "--num_load_threads=4")
    lines = server.log_text().splitlines()

    assert sum("importing TensorFlow" in line for line in lines) == 1
    assert sum("TensorFlow computes on: 1 CPU" in line for line in lines) == 1


def test_the_table_shows_models_versions_labels_signatures_and_urls(
    serve: Serve, make_base_path: MakeBasePath
) -> None:
    server = serve(str(make_base_path({7: "half_plus_two"})), "--model_name=half")

    server.wait_for(lambda: "HTTP  http://localhost:" in server.log_text(), "the table")
    text = server.log_text()
    assert "MODEL  VERSION  LABELS  SIGNATURES" in text
    assert (
        "half   7        -       classify_x2_to_y3 (inputs: float[...]) -> scores: float[...]"
        in text
    )
    assert "serving_default (x: float" in text
    assert f"curl http://localhost:{server.http_port}/v1/models/half:predict -d '" in text
    assert "importing TensorFlow" in text
    assert "absl" not in text  # what TensorFlow says of itself when it is loaded
    assert "oneDNN" not in text
    assert f"grpcurl -plaintext localhost:{server.grpc_port} list" in text


def test_json_logs_are_one_object_per_line(serve: Serve, make_base_path: MakeBasePath) -> None:
    server = serve(
        str(make_base_path({1: "half_plus_two"})), "--model_name=half", "--log_format=json"
    )

    server.wait_for(lambda: "half:1 AVAILABLE" in server.log_text(), "the line")
    entries = [json.loads(line) for line in server.log_text().splitlines() if line[:1] == "{"]

    assert "half:1 AVAILABLE" in [entry["message"] for entry in entries]
    assert all(entry.keys() >= {"time", "level", "logger", "message"} for entry in entries)


def test_a_unix_socket_serves_without_tcp(
    make_base_path: MakeBasePath, tmp_path: Path, serve: Serve
) -> None:
    socket_path = tmp_path / "grpc.sock"
    server = serve(
        str(make_base_path({1: "half_plus_two"})),
        "--model_name=half",
        f"--grpc_socket_path={socket_path}",
    )

    with grpc.insecure_channel(f"unix:{socket_path}") as channel:
        response = predict(channel, "half", 1.0)

    assert list(response.outputs["y"].float_val) == [2.5]
    assert server.is_ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_drains_what_is_in_flight_and_the_exit_status_is_0(
    serve: Serve, make_base_path: MakeBasePath, number: signal.Signals
) -> None:
    server = serve(str(make_base_path({1: "slow"})), "--model_name=slow")

    with asleep(server, milliseconds=3000) as reply:
        server.signal(number)
        server.wait_for(lambda: "draining" in server.log_text(), "draining")

        assert not server.is_ready()
        assert server.wait() == 0
        assert list(reply.result(timeout=20).outputs["slept"].int64_val) == [3000]


def test_the_grace_time_ends_a_drain(serve: Serve, make_base_path: MakeBasePath) -> None:
    flags = ("--model_name=slow", "--shutdown_grace_seconds=1")
    server = serve(str(make_base_path({1: "slow"})), *flags)

    with asleep(server, milliseconds=60_000) as reply:
        server.signal(signal.SIGTERM)

        assert server.wait() == 0
        assert isinstance(reply.exception(timeout=20), grpc.RpcError)


@contextmanager
def asleep(server: RunningServer, milliseconds: int) -> Iterator[grpc.Future[Any]]:
    """Have the server work on one request, for that long."""
    request = predict_request("slow", "sleep", milliseconds=np.array([milliseconds], np.int64))
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        reply = stub.Predict.future(request, timeout=90)
        # Calls of one connection arrive in order: when this one is answered, that is there.
        status = get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec)
        model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=30)
        yield reply


def predict(channel: grpc.Channel, model: str, x: float) -> predict_pb2.PredictResponse:
    request = predict_request(model, x=np.array([x], np.float32))
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
