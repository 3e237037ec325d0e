"""The usual Python handler: what one writes around `tf.saved_model.load` to serve it on gRPC.

grpc.aio, on uvloop; inputs through `tf.make_ndarray`, the signature in a thread, outputs through
`tf.make_tensor_proto`. Usage: python benchmarks/servers/usual_grpc.py PORT MODELS_FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
import uvloop
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict, for the models below one folder."""

    def __init__(self, folder: Path) -> None:
        self._models = {
            path.name: tf.saved_model.load(str(path / "1")) for path in folder.iterdir()
        }

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._models.get(request.model_spec.name)
        if model is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = await asyncio.get_running_loop().run_in_executor(None, _run, model, inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
        return response


def _run(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    outputs = model.signatures["serving_default"](**tensors)
    return {name: tensor.numpy() for name, tensor in outputs.items()}


async def serve(port: int, folder: Path) -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server()
    service = PredictionService(folder)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
