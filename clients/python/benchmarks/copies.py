"""Print what encoding and decoding a large tensor costs, in copies of the same bytes.

    python clients/python/benchmarks/copies.py [MEGABYTES]

Encoding is from an array to the bytes that gRPC sends, decoding from the bytes received to an
array, of one float tensor; a copy is numpy's, into memory that is new as well. Medians of
interleaved rounds. `protobuf` is the generated messages with `tensor_content`, as a client
would otherwise do it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from sigrun_client import _predict
from sigrun_client._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun_client._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun_client._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun_client._tensors import Array

ROUNDS = 41
SPEC = ModelSpec(name="model")


def main() -> None:
    """Measure and print."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    array = np.random.default_rng(0).random(round(megabytes * 1e6 / 4), np.float32)
    typed = _reply(array, is_content=False)
    content = _reply(array, is_content=True)
    times = measure(
        {
            "copy": array.copy,
            "encode": lambda: _predict.request(SPEC, {"x": ("float32", array)}, ()),
            "decode float_val": lambda: _predict.reply(typed)[1]["y"],
            "decode tensor_content": lambda: _predict.reply(content)[1]["y"],
            "protobuf encode": lambda: _protobuf_encode(array),
            "protobuf decode": lambda: _protobuf_decode(content),
        }
    )
    print(f"{array.nbytes / 1e6:g} MB of float32; a copy takes {times['copy'] * 1e3:.2f} ms")
    for name, seconds in times.items():
        print(f"  {name:<24}{seconds / times['copy']:8.2f} copies")


def measure(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each, in seconds, of rounds that run one after the other."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, run in work.items():
            begin = time.perf_counter()
            kept = run()
            times[name].append(time.perf_counter() - begin)
            del kept
    return {name: statistics.median(rounds) for name, rounds in times.items()}


def _reply(array: Array, *, is_content: bool) -> bytes:
    tensor = TensorProto(dtype=1)  # type: ignore[arg-type]  # an enum is its number
    tensor.tensor_shape.dim.add(size=array.size)
    if is_content:
        tensor.tensor_content = array.tobytes()
    else:
        tensor.float_val.extend(array.tolist())
    return PredictResponse(model_spec=SPEC, outputs={"y": tensor}).SerializeToString()


def _protobuf_encode(array: Array) -> bytes:
    request = PredictRequest(model_spec=SPEC)
    tensor = request.inputs["x"]
    tensor.dtype = 1  # type: ignore[assignment]  # an enum is its number
    tensor.tensor_shape.dim.add(size=array.size)
    tensor.tensor_content = array.tobytes()
    return request.SerializeToString()


def _protobuf_decode(body: bytes) -> Array:
    tensor = PredictResponse.FromString(body).outputs["y"]
    return np.frombuffer(tensor.tensor_content, np.float32)


if __name__ == "__main__":
    main()
