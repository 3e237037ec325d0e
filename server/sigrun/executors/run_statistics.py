"""How long the runs of a model take, and how long they wait for a thread, by signature.

In: seconds, as runs end; on the event loop. Out: readings of one version; and, as sums over
versions, what TensorFlow Serving calls runtime latency.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sigrun.servables.servable import ServableId
from sigrun.telemetry.metrics import (
    LATENCY_BOUNDS_S,
    Buckets,
    Distribution,
    Reading,
    in_microseconds,
)
from sigrun.tensors.signature import CLASSIFY_METHOD, REGRESS_METHOD, Signature

_APIS = {CLASSIFY_METHOD: "Classify", REGRESS_METHOD: "Regress"}
_JOINED = "(joined)"  # several signatures in one run, as a MultiInference has them


class RunStatistics:
    """The runs of one loaded version."""

    def __init__(self, id: ServableId, signatures: Mapping[str, Signature]) -> None:
        self._labels = {"model": id.name, "version": str(id.version)}
        self._by_signature = {name: Buckets(LATENCY_BOUNDS_S) for name in (*signatures, _JOINED)}
        self._apis = {
            name: _APIS.get(one.method_name, "Predict") for name, one in signatures.items()
        }
        self.waits = Buckets(LATENCY_BOUNDS_S)

    def of(self, signature: Signature) -> Buckets:
        """Return what counts the runs of a signature; one of several joined counts as such."""
        return self._by_signature.get(signature.name) or self._by_signature[_JOINED]

    def by_api(self) -> Iterator[tuple[str, Buckets]]:
        """Yield what TensorFlow Serving's methods ran, by the kind of their signatures."""
        for name, durations in self._by_signature.items():
            yield self._apis.get(name, "MultiInference"), durations

    def readings(self) -> Iterator[Reading]:
        """Yield what was counted, as metrics."""
        for name, durations in self._by_signature.items():
            value = durations.histogram
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
            value=self.waits.histogram,
            labels=self._labels,
        )


class RuntimeLatency:
    """Sums over versions, of those that are loaded and those that were."""

    def __init__(self) -> None:
        self._gone: dict[tuple[str, str], Buckets] = {}

    def retire(self, model: str, runs: RunStatistics) -> None:
        """Keep what a version has counted that is unloaded."""
        _sum(self._gone, model, runs)

    def readings(self, loaded: Iterable[tuple[str, RunStatistics]]) -> Iterator[Reading]:
        """Yield the metric of TensorFlow Serving."""
        totals: dict[tuple[str, str], Buckets] = {}
        for key, gone in self._gone.items():
            totals.setdefault(key, Buckets(LATENCY_BOUNDS_S)).add_all(gone)
        for model, runs in loaded:
            _sum(totals, model, runs)
        for (model, api), total in sorted(totals.items(), key=lambda entry: entry[0]):
            value = in_microseconds(total.histogram)
            if value.count:
                yield Distribution(
                    name=":tensorflow:serving:runtime_latency",
                    help="Microseconds of runs, by the kind of signature that was run",
                    value=value,
                    labels={"model_name": model, "API": api, "runtime": "TF1"},
                )


def _sum(totals: dict[tuple[str, str], Buckets], model: str, runs: RunStatistics) -> None:
    for api, durations in runs.by_api():
        totals.setdefault((model, api), Buckets(LATENCY_BOUNDS_S)).add_all(durations)
