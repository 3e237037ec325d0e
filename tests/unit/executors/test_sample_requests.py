from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sigrun.errors import InvalidArgument
from sigrun.executors.prepared import Call, Names, PreparedCalls, tensor_names
from sigrun.executors.saved_model import sample_requests
from sigrun.executors.saved_model.model import LoadedModel
from sigrun.executors.saved_model.sample_requests import is_slower
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec

FAILS = -1.0


class Clock:
    """Stands still but for runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sample_requests, "time", clock)
    return clock


class Model:
    """Has one signature for each name, whose runs take so many seconds, in turns."""

    runs_in_caller = True

    def __init__(self, clock: Clock, runs_s: Mapping[str, Sequence[float]]) -> None:
        self._clock = clock
        self._runs_s = runs_s
        self.runs = 0

    def make_call(self, _: Names, fetches: Names) -> Call:
        runs_s = self._runs_s[fetches[0]]

        def call(arrays: Sequence[Array]) -> Sequence[Array]:
            run_s = runs_s[self.runs % len(runs_s)]
            self.runs += 1
            if run_s == FAILS:
                raise InvalidArgument("these are no inputs")
            self._clock.now += run_s
            return arrays

        return call

    def shares_session(self, _: object) -> bool:
        return False

    def close(self) -> None: ...

    def loaded(self) -> LoadedModel:
        signatures = {
            name: Signature(
                name=name,
                method_name="",
                inputs={"x": TensorSpec(name="x", dtype=DType.FLOAT, shape=(None,))},
                outputs={"y": TensorSpec(name=name, dtype=DType.FLOAT, shape=(None,))},
            )
            for name in self._runs_s
        }
        calls = PreparedCalls(self.make_call)
        for signature in signatures.values():
            calls.keep(*tensor_names(signature, signature.outputs))
        return LoadedModel(signatures=signatures, calls=calls, executor=self)


@pytest.mark.parametrize(
    ("other", "model", "expected"),
    [
        ({"y": [0.001]}, {"y": [0.003]}, False),
        ({"y": [0.003]}, {"y": [0.001]}, True),
        ({"y": [0.00105]}, {"y": [0.001]}, False),
        ({"y": [0.5, 0.001]}, {"y": [0.002]}, False),
        ({"y": [0.001], "z": [0.009]}, {"y": [0.002], "z": [0.005]}, True),
        ({"y": [0.001], "z": [0.005]}, {"y": [0.005], "z": [0.002]}, False),
        ({"y": [FAILS], "z": [0.002]}, {"y": [FAILS], "z": [0.001]}, True),
        ({"y": [FAILS]}, {"y": [FAILS]}, False),
    ],
    ids=[
        "faster",
        "slower",
        "no more than noise",
        "a slow first run",
        "slower in all",
        "faster in all",
        "one signature fails",
        "there is nothing to compare",
    ],
)
def test_best_runs_of_all_signatures_tell_which_model_is_slower(
    other: Mapping[str, Sequence[float]],
    model: Mapping[str, Sequence[float]],
    expected: bool,
    clock: Clock,
) -> None:
    assert is_slower(Model(clock, other).loaded(), Model(clock, model).loaded()) is expected


def test_long_runs_are_compared_once(clock: Clock) -> None:
    long = Model(clock, {"y": [2.0]})

    assert not is_slower(long.loaded(), Model(clock, {"y": [3.0]}).loaded())

    assert long.runs == 1


def test_a_difference_is_judged_beside_the_largest_value() -> None:
    want = sample_requests.Answer(outputs=[np.array([1.0, 100.0], np.float32)])
    got = sample_requests.Answer(outputs=[np.array([2.0, 100.0], np.float32)])

    assert sample_requests.difference(want, got, sample_requests.FULL_PRECISION)
    assert sample_requests.difference(want, got, sample_requests.REDUCED_PRECISION) is None
