"""What JSON bodies cost to read and to write: `python -m benchmarks.json_costs`.

The figures in `wire/json` come from here. All of it is CPU time of one thread, so that a busy
machine does not spoil it: for each kind of body the time per byte, and the longest stretch
between two pauses. In a thread, that is how long the event loop may have to wait for the GIL.
Beside it stands what one call of orjson takes for the text, and the freeing of what it made.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import numpy as np
import orjson

from sigrun.concurrency.pace import Pace
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec
from sigrun.wire.json import outputs
from sigrun.wire.rest import predict_body

_MEGABYTE = 1_000_000
_LARGE = 50 * _MEGABYTE
_SMALL = 60_000

Kind = tuple[str, bytes, dict[str, DType]]

# The text of one row and the inputs in it.
ROWS: list[Kind] = [
    ("strings of 32", b'"some short text, as people write"', {"x": DType.STRING}),
    ("strings of 2", b'"ab"', {"x": DType.STRING}),
    ("base64 of 20 KB", b'{"b64": "' + b"QUJD" * 5000 + b'"}', {"x": DType.STRING}),
    (
        "objects",
        b'{"x": ["a", "bc"], "y": 0.5, "z": [1, 2, 3]}',
        {"x": DType.STRING, "y": DType.FLOAT, "z": DType.INT32},
    ),
    ("numbers", b"[0.123456789, 1.5, -3.25]", {"x": DType.FLOAT}),
]


def main() -> None:
    """Print a table for large bodies, for small ones, and for answers."""
    gc.collect()
    gc.freeze()
    print(f"{'read':18}{'MB':>6}{'ns/byte':>9}{'longest stretch, ms':>21}{'orjson, ms':>12}")
    for size in (_LARGE, _SMALL):
        for name, row, inputs in ROWS:
            _measure_reading(name, _body(row, size), _signature(inputs))
    print(f"{'write':18}{'MB':>6}{'ns/byte':>9}{'longest stretch, ms':>21}")
    for name, array in _answers().items():
        _measure_writing(name, array)


def _body(row: bytes, size: int) -> bytes:
    return b'{"instances": [' + b", ".join([row] * (size // (len(row) + 2))) + b"]}"


def _signature(inputs: dict[str, DType]) -> Signature:
    specs = {alias: TensorSpec(name=alias, dtype=t, shape=None) for alias, t in inputs.items()}
    return Signature(name="", method_name="", inputs=specs, outputs={})


def _answers() -> dict[str, Array]:
    texts = np.empty(_MEGABYTE, object)
    texts[:] = [b"some short text, as people write"] * _MEGABYTE
    return {
        "floats": np.random.default_rng(7).random((10_000, 1000), np.float32),
        "integers": np.arange(10_000_000).reshape(10_000, 1000),
        "texts": texts,
        "ten floats": np.random.default_rng(7).random((1, 10), np.float32),
    }


class _Stretches:
    """A pace that notes the longest time between two of its calls."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last_s = time.thread_time()

    def __call__(self) -> None:
        now_s = time.thread_time()
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s


def _measured(work: Callable[[Pace], object]) -> tuple[float, float]:
    """Return the CPU time of `work`, and the longest stretch of it; both in seconds."""
    runs = 0
    stretches = _Stretches()
    start_s = time.thread_time()
    while not runs or time.thread_time() - start_s < 0.5:
        result = work(stretches)
        stretches()
        del result  # freeing the answer is not part of it
        stretches._last_s = time.thread_time()
        runs += 1
    return (time.thread_time() - start_s) / runs, stretches.longest_s


def _measure_reading(name: str, body: bytes, signature: Signature) -> None:
    taken_s, longest_s = _measured(lambda pace: predict_body.read(body, pace).bind(signature, pace))
    orjson_s, _ = _measured(lambda _: orjson.loads(body))
    _report(name, len(body), taken_s, longest_s, f"{orjson_s * 1e3:12.2f}")


def _measure_writing(name: str, array: Array) -> None:
    size = len(outputs.predictions({name: array}, lambda: None))
    taken_s, longest_s = _measured(lambda pace: outputs.predictions({name: array}, pace))
    _report(name, size, taken_s, longest_s, "")


def _report(name: str, size: int, taken_s: float, longest_s: float, more: str) -> None:
    print(
        f"{name:18}{size / _MEGABYTE:6.2f}{taken_s / size * 1e9:9.2f}{longest_s * 1e3:21.2f}{more}",
        flush=True,
    )


if __name__ == "__main__":
    main()
