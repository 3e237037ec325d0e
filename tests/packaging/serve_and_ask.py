"""Serve a tiny model with the sigrun installed beside this Python, and ask it on both ports.

Run as `python serve_and_ask.py` in an environment that holds the wheel and its dependencies
alone: it imports nothing of the repository. With `--all-extras` the model is one of TensorFlow
Lite, operations come from tensorflow-text, requests are traced, and the object stores can be
imported. Exits with 0 if every answer is right.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from sigrun._gen.tensorflow.core.framework import types_pb2
from sigrun._gen.tensorflow_serving.apis import predict_pb2

SIGRUN = Path(sys.executable).with_name("sigrun")
START_TIMEOUT_S = 120
ASKED = ("grpcio", "grpcio-health-checking", "protobuf", "numpy", "tensorflow")
EXTRAS = ("tensorflow-text", "ai-edge-litert", "opentelemetry-sdk", "s3fs", "gcsfs", "adlfs")
STORES = ("s3", "gs", "az", "http")
SPAN = '"name": "tensorflow.serving.PredictionService/Predict"'


def main() -> None:
    """Make the model, serve it, ask it, stop the server."""
    has_extras = "--all-extras" in sys.argv
    asked = ASKED + EXTRAS if has_extras else ASKED
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in asked))
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "half_plus_two"
        (make_lite_model if has_extras else make_model)(base_path / "1")
        ports = free_port(), free_port()
        flags = [f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
        environment = dict(os.environ)
        if has_extras:
            flags.append("--op_libraries=tensorflow_text")
            environment["OTEL_TRACES_EXPORTER"] = "console"
            import_stores()
        said = Path(folder) / "stdout"
        with said.open("wb") as stdout:
            server = subprocess.Popen(
                [SIGRUN, "serve", base_path, *flags], env=environment, stdout=stdout
            )
            try:
                wait_until_ready(server, ports[1])
                ask_http(ports[1])
                ask_grpc(ports[0])
            finally:
                server.terminate()
                status = server.wait(60)
        expect(status, 0)
        expect(SPAN in said.read_text(), has_extras)


def make_model(folder: Path) -> None:
    """Save `y = x / 2 + 2`."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    model = tf.Module()
    x = tf.TensorSpec([None], tf.float32, name="x")
    model.run = tf.function(lambda x: {"y": x / 2 + 2}, input_signature=[x])
    tf.saved_model.save(model, str(folder), signatures=model.run)


def make_lite_model(folder: Path) -> None:
    """Write `y = x / 2 + 2` as a model of TensorFlow Lite."""
    with tempfile.TemporaryDirectory() as saved:
        make_model(Path(saved))
        import tensorflow as tf

        model = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(model)


def import_stores() -> None:
    """Fail where what speaks with an object store cannot be imported."""
    import fsspec

    for scheme in STORES:
        fsspec.get_filesystem_class(scheme)


def wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    """Return when `/readyz` is answered with 200."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > ends_at:
                sys.exit("the server did not become ready")
            time.sleep(0.1)


def ask_http(port: int) -> None:
    """Predict as JSON."""
    url = f"http://127.0.0.1:{port}/v1/models/half_plus_two:predict"
    with urllib.request.urlopen(url, data=b'{"instances": [2, 4]}', timeout=30) as answer:
        expect(json.loads(answer.read()), {"predictions": [3.0, 4.0]})


def ask_grpc(port: int) -> None:
    """Predict, and read the health of the server, of the model and of everything."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half_plus_two"
        request.inputs["x"].dtype = types_pb2.DT_FLOAT
        request.inputs["x"].tensor_shape.dim.add().size = 2
        request.inputs["x"].float_val.extend((2.0, 4.0))
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        expect(list(predict(request, timeout=30).outputs["y"].float_val), [3.0, 4.0])
        serving = int(health_pb2.HealthCheckResponse.SERVING)
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for name in ("", "half_plus_two"):
            answer = check(health_pb2.HealthCheckRequest(service=name), timeout=30)
            expect(int(answer.status), serving)
        if hasattr(health_pb2, "HealthListRequest"):
            every = channel.unary_unary(
                "/grpc.health.v1.Health/List",
                request_serializer=health_pb2.HealthListRequest.SerializeToString,
                response_deserializer=health_pb2.HealthListResponse.FromString,
            )
            statuses = every(health_pb2.HealthListRequest(), timeout=30).statuses
            expect(statuses["half_plus_two"].status, serving)


def expect(got: object, wanted: object) -> None:
    """Exit with 1 if an answer is another than it should be."""
    if got != wanted:
        sys.exit(f"wanted {wanted!r}, got {got!r}")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
