"""Calls counted and timed, where model, version and signature are known.

`Observed` has the face of the `Inference` that it holds, and goes around it once, whatever the
door. Its readings have TensorFlow Serving's names, and names of ours with every label beside
them.

Labels are values that a server has given, never what a caller made up: a name that leads to no
model would otherwise be a new time series for each request that guesses one. So a failed call is
counted for the version that it was pinned to, and one that found none for no model at all.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from sigrun.errors import Code, SigrunError, code_of
from sigrun.inference.backend import Inference
from sigrun.inference.calls import (
    ClassifyResult,
    ExamplesCall,
    MetadataCall,
    MetadataResult,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import Counter, Distribution, Histogram, Reading, Untyped

# TensorFlow Serving's buckets for latencies: 33 of them, from 10 us, each 1.8 times the last.
_BOUNDS_US = tuple(10.0 * 1.8**power for power in range(33))
_BOUNDS_S = tuple(bound / 1e6 for bound in _BOUNDS_US)

_FROM_WEB = frozenset({Door.REST})
_NOBODY = ResolvedSpec(name="", version=0)


class _Call(Protocol):
    @property
    def context(self) -> CallContext: ...


C = TypeVar("C", bound=_Call)
R = TypeVar("R")


_Key = tuple[ResolvedSpec, str, Door, Code]
"""What calls are told apart by: what answered, the method, the door, the code."""


class _Series:
    """The calls of one key."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def histogram(self, bounds: tuple[float, ...], unit_s: float) -> Histogram:
        return Histogram(bounds=bounds, counts=tuple(self.counts), sum=self.sum_s / unit_s)


class Observed:
    """An `Inference` around another one. Used on one event loop.

    Its methods are not coroutines themselves but return one: a frame less for every call.
    """

    def __init__(
        self, inference: Inference, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._inference = inference
        self._clock = clock
        self._series: dict[_Key, _Series] = {}

    def predict(self, call: PredictCall) -> Coroutine[Any, Any, PredictResult]:
        """Run a signature on tensors."""
        return self._observe("Predict", self._inference.predict, call, _target)

    def classify(self, call: ExamplesCall) -> Coroutine[Any, Any, ClassifyResult]:
        """Return the classes of each example."""
        return self._observe("Classify", self._inference.classify, call, _target)

    def regress(self, call: ExamplesCall) -> Coroutine[Any, Any, RegressResult]:
        """Return one value for each example."""
        return self._observe("Regress", self._inference.regress, call, _target)

    def multi_inference(
        self, call: MultiInferenceCall
    ) -> Coroutine[Any, Any, MultiInferenceResult]:
        """Run several signatures of one model on the same examples, as one run."""
        return self._observe(
            "MultiInference", self._inference.multi_inference, call, _common_target
        )

    def metadata(self, call: MetadataCall) -> Coroutine[Any, Any, MetadataResult]:
        """Return the signatures of a model."""
        return self._observe("GetModelMetadata", self._inference.metadata, call, _target)

    async def _observe(
        self,
        method: str,
        answer: Callable[[C], Awaitable[R]],
        call: C,
        target_of: Callable[[R], ResolvedSpec],
    ) -> R:
        started = self._clock()
        try:
            result = await answer(call)
        except BaseException as error:
            target = _failed_target(error)
            self._count((target, method, call.context.door, code_of(error)), started)
            raise
        self._count((target_of(result), method, call.context.door, Code.OK), started)
        return result

    def _count(self, key: _Key, started: float) -> None:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        duration_s = self._clock() - started
        series.counts[bisect_left(_BOUNDS_S, duration_s)] += 1
        series.sum_s += duration_s

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        for key, series in self._series.items():
            yield from _own(key, series)
        yield from _tensorflow_serving(self._series)


def _own(key: _Key, series: _Series) -> Iterable[Reading]:
    target, method, door, code = key
    labels = {
        "model": target.name,
        "version": str(target.version or ""),
        "signature": target.signature_name,
        "method": method,
        "door": door.value,
    }
    yield Counter(
        name="sigrun_requests",
        help="Calls by model, version, signature, method, door and code",
        value=sum(series.counts),
        labels={**labels, "code": code.name},
    )
    if code is Code.OK:
        yield Distribution(
            name="sigrun_request_duration_seconds",
            help="From the read request to the result, of calls that succeeded",
            value=series.histogram(_BOUNDS_S, 1.0),
            labels=labels,
        )


def _tensorflow_serving(series: dict[_Key, _Series]) -> Iterable[Reading]:
    """Yield its metrics, which know neither version nor signature: sums over ours."""
    counts: dict[tuple[str, str], int] = {}
    latencies: dict[tuple[str, str, str], _Series] = {}
    for (target, method, door, code), one in series.items():
        outcome = target.name, code.name
        counts[outcome] = counts.get(outcome, 0) + sum(one.counts)
        if code is Code.OK:
            is_rest = door in _FROM_WEB
            api = method.lower() if is_rest else method
            total = latencies.setdefault(
                (target.name, api, "REST" if is_rest else "GRPC"), _Series()
            )
            total.counts = [a + b for a, b in zip(total.counts, one.counts, strict=True)]
            total.sum_s += one.sum_s
    for (model, status), count in counts.items():
        yield Untyped(
            name=":tensorflow:serving:request_count",
            help="Calls by model and status, as TensorFlow Serving counts them",
            value=count,
            labels={"model_name": model, "status": status},
        )
    for (model, api, entrypoint), total in latencies.items():
        yield Distribution(
            name=":tensorflow:serving:request_latency",
            help="Microseconds of calls that succeeded, as TensorFlow Serving measures them",
            value=total.histogram(_BOUNDS_US, 1e-6),
            labels={"model_name": model, "API": api, "entrypoint": entrypoint},
        )


class _Resolved(Protocol):
    @property
    def spec(self) -> ResolvedSpec: ...


def _target(result: _Resolved) -> ResolvedSpec:
    return result.spec


def _common_target(results: MultiInferenceResult) -> ResolvedSpec:
    """Return model and version of all tasks; their signatures differ."""
    if not results:
        return _NOBODY
    first = results[0].spec
    return ResolvedSpec(name=first.name, version=first.version)


def _failed_target(error: BaseException) -> ResolvedSpec:
    if not isinstance(error, SigrunError) or error.servable is None:
        return _NOBODY
    name, version = error.servable
    return ResolvedSpec(name=name, version=version)
