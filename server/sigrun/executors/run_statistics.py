"""How long the runs of a model take, and how long they wait for a thread, by signature.

In: seconds, as runs end; on the event loop. Out: readings of one version; and, as sums over
versions, what TensorFlow Serving calls runtime latency.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from sigrun.servables.servable import ServableId
from sigrun.telemetry.metrics import Distribution, Histogram, Reading
from sigrun.tensors.signature import CLASSIFY_METHOD, REGRESS_METHOD, Signature

# TensorFlow Serving's buckets: 33 of them, from 10 us, each 1.8 times the last.
_BOUNDS_US = tuple(10.0 * 1.8**power for power in range(33))
_BOUNDS_S = tuple(bound / 1e6 for bound in _BOUNDS_US)

_APIS = {CLASSIFY_METHOD: "Classify", REGRESS_METHOD: "Regress"}
_JOINED = "(joined)"  # several signatures in one run, as a MultiInference has them


class Durations:
    """A histogram that is added to."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one."""
        self._counts[bisect_left(_BOUNDS_S, duration_s)] += 1
        self._sum_s += duration_s

    def add_all(self, other: Durations) -> None:
        """Count all that `other` has counted."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self._sum_s += other._sum_s

    def in_seconds(self) -> Histogram:
        """Return what was counted, in seconds."""
        return Histogram(bounds=_BOUNDS_S, counts=tuple(self._counts), sum=self._sum_s)

    def in_microseconds(self) -> Histogram:
        """Return what was counted, in microseconds."""
        return Histogram(bounds=_BOUNDS_US, counts=tuple(self._counts), sum=self._sum_s * 1e6)


class RunStatistics:
    """The runs of one loaded version."""

    def __init__(self, id: ServableId, signatures: Mapping[str, Signature]) -> None:
        self._labels = {"model": id.name, "version": str(id.version)}
        self._by_signature = {name: Durations() for name in (*signatures, _JOINED)}
        self._apis = {
            name: _APIS.get(one.method_name, "Predict") for name, one in signatures.items()
        }
        self.waits = Durations()

    def of(self, signature: Signature) -> Durations:
        """Return what counts the runs of a signature; one of several joined counts as such."""
        return self._by_signature.get(signature.name) or self._by_signature[_JOINED]

    def by_api(self) -> Iterator[tuple[str, Durations]]:
        """Yield what TensorFlow Serving's methods ran, by the kind of their signatures."""
        for name, durations in self._by_signature.items():
            yield self._apis.get(name, "MultiInference"), durations

    def readings(self) -> Iterator[Reading]:
        """Yield what was counted, as metrics."""
        for name, durations in self._by_signature.items():
            value = durations.in_seconds()
            if value.count:
                yield Distribution(
                    name="sigrun_run_duration_seconds",
                    help="Runs of a model that returned, without waiting for a thread",
                    value=value,
                    labels={**self._labels, "signature": name},
                )
        yield Distribution(
            name="sigrun_run_wait_seconds",
            help="How long runs waited for a thread, and their results for the event loop",
            value=self.waits.in_seconds(),
            labels=self._labels,
        )


class RuntimeLatency:
    """Sums over versions, of those that are loaded and those that were."""

    def __init__(self) -> None:
        self._gone: dict[tuple[str, str], Durations] = {}

    def retire(self, model: str, runs: RunStatistics) -> None:
        """Keep what a version has counted that is unloaded."""
        _sum(self._gone, model, runs)

    def readings(self, loaded: Iterable[tuple[str, RunStatistics]]) -> Iterator[Reading]:
        """Yield the metric of TensorFlow Serving."""
        totals: dict[tuple[str, str], Durations] = {}
        for key, gone in self._gone.items():
            totals.setdefault(key, Durations()).add_all(gone)
        for model, runs in loaded:
            _sum(totals, model, runs)
        for (model, api), total in sorted(totals.items(), key=lambda entry: entry[0]):
            value = total.in_microseconds()
            if value.count:
                yield Distribution(
                    name=":tensorflow:serving:runtime_latency",
                    help="Microseconds of runs, by the kind of signature that was run",
                    value=value,
                    labels={"model_name": model, "API": api, "runtime": "TF1"},
                )


def _sum(totals: dict[tuple[str, str], Durations], model: str, runs: RunStatistics) -> None:
    for api, durations in runs.by_api():
        totals.setdefault((model, api), Durations()).add_all(durations)
