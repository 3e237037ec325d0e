"""What a run takes on the devices that TensorFlow finds: of a model as saved, and as it is loaded.

In process, without sockets. The two take turns. "First" is the first run with so many rows, in
which a GPU's libraries choose their kernels.
Usage: python -m benchmarks.devices [MODEL ...]
       CUDA_VISIBLE_DEVICES=-1 python -m benchmarks.devices     the same on CPUs
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import models, paths
from benchmarks.bodies import example

if TYPE_CHECKING:
    from sigrun.executors.saved_model.model import LoadedModel

MODELS = ("half_plus_two", "mlp", "conv", "mobilenet")
_ROWS = (1, 3, 32)
_WARM_UP_RUNS = 20
_SECONDS = 2.0


def main(names: list[str]) -> None:
    """Print a table."""
    from sigrun.config.execution import ExecutionOptions
    from sigrun.executors.devices import summary
    from sigrun.executors.saved_model.reading import read_saved_model
    from sigrun.executors.saved_model.session import list_devices

    models.build_missing()
    print(f"TensorFlow computes on: {summary(list_devices())}")
    print(f"{'model':14} rows   first ms   as saved us   as loaded us   ratio")
    for name in names:
        path = str(paths.MODELS / name / "1")
        as_saved = read_saved_model(path, ExecutionOptions(optimize_on_load=False))
        as_loaded = read_saved_model(path, ExecutionOptions())
        for rows in _ROWS:
            saved = Runs(as_saved, name, rows)
            loaded = Runs(as_loaded, name, rows)
            first_s = loaded.run_s()
            saved_us, loaded_us = _in_turns(saved, loaded)
            print(
                f"{name:14} {rows:4} {first_s * 1e3:10.1f} {saved_us:13.0f} {loaded_us:14.0f} "
                f"{loaded_us / saved_us:7.2f}",
                flush=True,
            )


class Runs:
    """Runs of one model with so many rows."""

    def __init__(self, model: LoadedModel, name: str, rows: int) -> None:
        inputs = example(name).inputs
        signature, prepared = next(
            (signature, prepared)
            for signature, prepared in model.prepared()
            if signature.inputs.keys() == inputs.keys()
        )
        self._call = prepared.call
        self._arrays = [_of_rows(inputs[alias], rows) for alias in signature.inputs]

    def run_s(self) -> float:
        """Make a run, and return how long it took."""
        started = time.perf_counter()
        self._call(self._arrays)
        return time.perf_counter() - started


def _of_rows(array: np.ndarray, rows: int) -> np.ndarray:
    return np.resize(array, (rows, *array.shape[1:]))


def _in_turns(one: Runs, other: Runs) -> tuple[float, float]:
    """Return the medians, in microseconds."""
    for _ in range(_WARM_UP_RUNS):
        one.run_s()
        other.run_s()
    took: tuple[list[float], list[float]] = ([], [])
    ends_at = time.perf_counter() + _SECONDS
    while time.perf_counter() < ends_at:
        took[0].append(one.run_s())
        took[1].append(other.run_s())
    first, second = (statistics.median(each) * 1e6 for each in took)
    return first, second


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(sys.argv[1:] or [*MODELS])
