"""Requests counted, timed and weighed: by model, version, signature, method, door and code.

An observer of whole requests, so that reading and writing are timed as well. What answered is
read from the outcome of the call. The readings have TensorFlow Serving's names, and names of ours
with every label beside them.

A label's values are bounded: a model has series for the `MAX_VERSIONS` highest versions that were
asked, so that a server which is given a new one every hour does not grow. What is dropped stays
in the sums that know no versions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple

from sigrun.errors import Code
from sigrun.inference.calls import ResolvedSpec
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import (
    LATENCY_BOUNDS_S,
    Counter,
    Distribution,
    Histogram,
    Reading,
    Untyped,
    in_microseconds,
)
from sigrun.wire.observing import OnEnd, Sizes, Span

MAX_VERSIONS = 16

# TensorFlow Serving's buckets.
_EXAMPLE_BOUNDS = tuple(2.0**power for power in range(15))

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_OK: Final = Code.OK
_NOBODY = ResolvedSpec(name="", version=0)

# REST's actions, under the names that the same methods have as RPCs.
_METHODS = {
    "/v1/models:predict": "Predict",
    "/v1/models:classify": "Classify",
    "/v1/models:regress": "Regress",
    "/v1/models:metadata": "GetModelMetadata",
    "/v1/models:status": "GetModelStatus",
    "/v1/models:models": "ListModels",
}
_INFERENCE = frozenset({"Predict", "Classify", "Regress"})


class _Key(NamedTuple):
    """What requests are told apart by."""

    target: ResolvedSpec
    door: Door
    code: Code


class _Series:
    """The requests of one key."""

    __slots__ = ("counts", "examples", "request_bytes", "response_bytes", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0
        self.request_bytes = self.response_bytes = 0
        self.examples: list[int] = []  # how many requests had so many; empty where none has any

    def count_examples(self, examples: int) -> None:
        if not self.examples:
            self.examples = [0] * (len(_EXAMPLE_BOUNDS) + 2)  # the last one is the sum
        self.examples[bisect_left(_EXAMPLE_BOUNDS, examples)] += 1
        self.examples[-1] += examples

    def add(self, other: _Series) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s
        if other.examples:
            mine = self.examples or [0] * len(other.examples)
            self.examples = [a + b for a, b in zip(mine, other.examples, strict=True)]

    @property
    def durations(self) -> Histogram:
        return Histogram(bounds=LATENCY_BOUNDS_S, counts=tuple(self.counts), sum=self.sum_s)


class RequestMetrics:
    """An observer that counts. Used on one event loop."""

    def __init__(self) -> None:
        self._series: dict[str, dict[tuple[ResolvedSpec, Door, Code], _Series]] = {}
        self._dropped: dict[str, dict[_Key, _Series]] = {}

    def of(self, method: str) -> OnEnd:
        """Return what counts a request under the name of the RPC, over REST as well."""
        name = _METHODS.get(method) or method.rpartition("/")[2]
        of_method = self._series.setdefault(name, {})

        def count(context: CallContext, code: Code, sizes: Sizes, span: Span) -> None:
            outcome = context.outcome
            target = _NOBODY if outcome is None else outcome.target or _NOBODY
            key = target, context.door, code
            series = of_method.get(key)
            if series is None:
                self._make_room(target)
                series = of_method[key] = _Series()
            duration_s = span[1] - span[0]
            series.counts[bisect_left(LATENCY_BOUNDS_S, duration_s)] += 1
            series.sum_s += duration_s
            series.request_bytes += sizes[0]
            series.response_bytes += sizes[1]
            if outcome is not None and outcome.examples and code is _OK:
                series.count_examples(outcome.examples)

        return count

    def _make_room(self, target: ResolvedSpec) -> None:
        """Drop the lowest version of the model of `target` if there is one too many."""
        versions = {
            known.version
            for of_method in self._series.values()
            for known, _, _ in of_method
            if known.name == target.name
        }
        if target.version in versions or len(versions) < MAX_VERSIONS:
            return
        lowest = min(versions)
        for name, of_method in self._series.items():
            for key in [key for key in of_method if key[0][:2] == (target.name, lowest)]:
                _, door, code = key
                total = _Key(ResolvedSpec(target.name, 0), door, code)
                sums = self._dropped.setdefault(name, {})
                sums.setdefault(total, _Series()).add(of_method.pop(key))

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        for method, of_method in self._series.items():
            for key, series in of_method.items():
                yield from _own(method, _Key(*key), series)
        yield from self._tensorflow_serving()

    def _tensorflow_serving(self) -> Iterable[Reading]:
        """Yield its metrics, which know neither version nor signature: sums over ours."""
        counts: dict[tuple[str, str], int] = {}
        latencies: dict[tuple[str, str, str], _Series] = {}
        examples: dict[str, _Series] = {}
        for table in (self._series, self._dropped):
            for method, of_method in table.items():
                for (target, door, code), one in of_method.items():
                    model = target.name
                    is_rest = door is Door.REST
                    if one.examples:
                        examples.setdefault(model, _Series()).add(one)
                    if not is_rest and method not in _INFERENCE:
                        continue
                    outcome = model, code.name
                    counts[outcome] = counts.get(outcome, 0) + sum(one.counts)
                    if code is Code.OK:
                        key = model, _api(method, is_rest=is_rest), "REST" if is_rest else "GRPC"
                        latencies.setdefault(key, _Series()).add(one)
        yield from _request_counts(counts)
        yield from _request_latencies(latencies)
        yield from _example_counts(examples)


def _api(method: str, *, is_rest: bool) -> str:
    """Return what TensorFlow Serving calls a method: nothing where it is a GET."""
    if not is_rest:
        return method
    return method.lower() if method in _INFERENCE else ""


def _own(method: str, key: _Key, series: _Series) -> Iterable[Reading]:
    target, door, code = key
    labels = {
        "model": target.name,
        "version": str(target.version or ""),
        "signature": target.signature_name,
        "method": method,
        "door": door.value,
        "code": code.name,
    }
    yield Distribution(
        name="sigrun_request_duration_seconds",
        help="From the whole request to the answer, reading and writing included",
        value=series.durations,
        labels=labels,
    )
    for name, help, value in (
        ("sigrun_requests", "Requests", sum(series.counts)),
        ("sigrun_request_bytes", "Bytes of requests", series.request_bytes),
        ("sigrun_response_bytes", "Bytes of answers", series.response_bytes),
    ):
        yield Counter(name=name, help=help, value=value, labels=labels)


def _request_counts(counts: dict[tuple[str, str], int]) -> Iterable[Reading]:
    for (model, status), count in counts.items():
        yield Untyped(
            name=":tensorflow:serving:request_count",
            help="Requests by model and status, as TensorFlow Serving counts them",
            value=count,
            labels={"model_name": model, "status": status},
        )


def _request_latencies(latencies: dict[tuple[str, str, str], _Series]) -> Iterable[Reading]:
    for (model, api, entrypoint), total in latencies.items():
        yield Distribution(
            name=":tensorflow:serving:request_latency",
            help="Microseconds of requests that succeeded, as TensorFlow Serving measures them",
            value=in_microseconds(total.durations),
            labels={"model_name": model, "API": api, "entrypoint": entrypoint},
        )


def _example_counts(examples: dict[str, _Series]) -> Iterable[Reading]:
    for model, total in examples.items():
        *counts, in_all = total.examples
        yield Distribution(
            name=":tensorflow:serving:request_example_counts",
            help="Examples of a request",
            value=Histogram(bounds=_EXAMPLE_BOUNDS, counts=tuple(counts), sum=in_all),
            labels={"model": model},
        )
        yield Untyped(
            name=":tensorflow:serving:request_example_count_total",
            help="Examples of all requests",
            value=in_all,
            labels={"model": model},
        )
