"""The floor: what gRPC and protobuf cost in Python when a server does nothing else.

A Predict method on grpc.aio and uvloop: a PredictRequest is parsed, a canned PredictResponse is
built and serialized. Usage: python benchmarks/servers/echo.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop

from sigrun._gen.tensorflow.core.framework import types_pb2
from sigrun._gen.tensorflow_serving.apis import predict_pb2

_ANSWER = (2.5, 3.0, 4.5)  # half_plus_two's


async def predict(request: predict_pb2.PredictRequest, _: Any) -> predict_pb2.PredictResponse:
    """Answer as half_plus_two would, without a model."""
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = 1
    response.model_spec.signature_name = "serving_default"
    tensor = response.outputs["y"]
    tensor.dtype = types_pb2.DT_FLOAT
    tensor.tensor_shape.dim.add(size=len(_ANSWER))
    tensor.float_val.extend(_ANSWER)
    return response


async def serve(port: int) -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        predict,
        predict_pb2.PredictRequest.FromString,
        predict_pb2.PredictResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler(
        "tensorflow.serving.PredictionService", {"Predict": method}
    )
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
