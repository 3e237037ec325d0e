"""Call a server with the sigrun-client installed beside this Python, by library and command line.

Run as `python call_a_server.py VERSION` in an environment that holds the client's wheel and its
dependencies alone. The server is grpcio's, in this process, and answers y = x / 2 + 2.
Exits with 0 if every answer is right and the client says that it has this version.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

import sigrun_client
from sigrun_client._gen.tensorflow_serving.apis import predict_pb2

COMMAND = Path(sys.executable).with_name("sigrun-client")
DEPENDENCIES = ("grpcio", "numpy", "protobuf")


def main() -> None:
    """Serve, ask, compare."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in DEPENDENCIES]
    print(f"Python {platform.python_version()}:", ", ".join(versions))
    (wanted,) = sys.argv[1:]
    expect(sigrun_client.__version__, wanted)
    expect(importlib.metadata.version("sigrun-client"), wanted)

    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        predict_handler = grpc.unary_unary_rpc_method_handler(
            predict,
            request_deserializer=predict_pb2.PredictRequest.FromString,
            response_serializer=predict_pb2.PredictResponse.SerializeToString,
        )
        service = "tensorflow.serving.PredictionService"
        server.add_registered_method_handlers(service, {"Predict": predict_handler})
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            ask(f"127.0.0.1:{port}")
        finally:
            server.stop(grace=None).wait()


def ask(address: str) -> None:
    """Predict through the library, then through the command line."""
    with sigrun_client.Client(address) as client:
        result = client.predict("half_plus_two", {"x": np.array([2, 4], np.float32)}, timeout_s=30)
    expect(result["y"].tolist(), [3.0, 4.0])
    expect(result.version, 1)
    said = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=True)
    expect(said.stdout.split()[-1], sigrun_client.__version__)


def predict(
    request: predict_pb2.PredictRequest, context: grpc.ServicerContext
) -> predict_pb2.PredictResponse:
    """Return y = x / 2 + 2, from version 1."""
    x = np.frombuffer(request.inputs["x"].tensor_content, np.float32)
    reply = predict_pb2.PredictResponse()
    reply.model_spec.name = request.model_spec.name
    reply.model_spec.version.value = 1
    reply.outputs["y"].CopyFrom(request.inputs["x"])
    reply.outputs["y"].tensor_content = (x / 2 + 2).tobytes()
    return reply


def expect(got: object, wanted: object) -> None:
    """Exit with 1 if an answer is another than it should be."""
    if got != wanted:
        sys.exit(f"wanted {wanted!r}, got {got!r}")


if __name__ == "__main__":
    main()
