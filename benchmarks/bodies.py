"""One request per model and the answer that every server must give, on gRPC and on JSON.

In: the arrays that `models` wrote. Out: bodies as files, ready to be sent, and checks of replies.
Nothing here needs TensorFlow.
"""

from __future__ import annotations

import enum
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import paths
from sigrun._gen.tensorflow.core.framework import tensor_pb2, types_pb2
from sigrun._gen.tensorflow_serving.apis import predict_pb2

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_TOLERANCE = 1e-3  # relative; threads and folding change the order of additions
_TYPES = {
    "float32": (types_pb2.DT_FLOAT, "float_val"),
    "int64": (types_pb2.DT_INT64, "int64_val"),
}


class Door(enum.Enum):
    """By which protocol, and in which form, a request is sent."""

    GRPC = "gRPC"
    GRPC_CONTENT = "gRPC, tensor_content"
    JSON = "JSON"


class WrongAnswer(Exception):
    """A server answered with something else than TensorFlow does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A request of a model, with the outputs it must bring."""

    model: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    def body(self, door: Door) -> bytes:
        """Return the request as it stands in an HTTP body."""
        if door is Door.JSON:
            return self._json()
        message = self.message(as_content=door is Door.GRPC_CONTENT)
        return b"\0" + len(message).to_bytes(4, "big") + message

    def message(self, *, as_content: bool = False) -> bytes:
        """Return the request as a serialized PredictRequest."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model
        for name, array in self.inputs.items():
            _fill(request.inputs[name], array, as_content=as_content)
        return request.SerializeToString()

    def _json(self) -> bytes:
        (array,) = self.inputs.values()
        is_text = array.dtype.kind == "S"
        # The models' inputs have four decimals: rounding undoes what widening a float32 adds.
        rows = np.char.decode(array) if is_text else array.astype(np.float64).round(4)
        return json.dumps({"instances": rows.tolist()}).encode()

    def check_message(self, message: bytes) -> None:
        """Raise `WrongAnswer` unless the PredictResponse holds the expected outputs."""
        response = predict_pb2.PredictResponse.FromString(message)
        for name, expected in self.outputs.items():
            tensor = response.outputs[name]
            _, field = _TYPES[expected.dtype.name]
            values = np.array(getattr(tensor, field), expected.dtype)
            if tensor.tensor_content:
                values = np.frombuffer(tensor.tensor_content, expected.dtype)
            _check(f"{self.model} {name}", values, expected)

    def check_json(self, body: bytes) -> None:
        """Raise `WrongAnswer` unless the document holds the expected outputs."""
        predictions = json.loads(body).get("predictions")
        (expected,) = self.outputs.values()
        _check(f"{self.model} predictions", np.array(predictions).ravel(), expected)


@functools.cache
def example(model: str) -> Example:
    """Return the request of `model`."""
    with np.load(paths.EXAMPLES / f"{model}.npz") as arrays:
        return Example(
            model=model,
            inputs={n.removeprefix("in_"): arrays[n] for n in arrays if n.startswith("in_")},
            outputs={n.removeprefix("out_"): arrays[n] for n in arrays if n.startswith("out_")},
        )


@functools.cache
def body_file(model: str, door: Door) -> Path:
    """Return a file with the request as it stands in an HTTP body."""
    path = paths.BODIES / f"{model}.{door.name.lower()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(example(model).body(door))
    return path


def json_path(model: str) -> str:
    """Return where a model is asked over HTTP."""
    return f"/v1/models/{model}:predict"


def _fill(tensor: tensor_pb2.TensorProto, array: np.ndarray, *, as_content: bool) -> None:
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype.kind == "S":
        tensor.dtype = types_pb2.DT_STRING
        tensor.string_val.extend(array.ravel().tolist())
        return
    tensor.dtype, field = _TYPES[array.dtype.name]
    if as_content:
        tensor.tensor_content = array.tobytes()
    else:
        getattr(tensor, field).extend(array.ravel().tolist())


def _check(what: str, values: np.ndarray, expected: np.ndarray) -> None:
    flat = expected.ravel()
    if values.shape != flat.shape or not np.allclose(values, flat, rtol=_TOLERANCE, atol=1e-5):
        raise WrongAnswer(f"{what}: {values[:4]} ..., expected {flat[:4]} ...")
