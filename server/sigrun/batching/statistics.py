"""What batching does, counted: per model and signature, cheap to write and safe to read.

Written by schedulers, on the event loop. Read as frozen values, and as metrics. The buckets are
TensorFlow Serving's.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigrun.batching.queue import BatchQueue
from sigrun.telemetry.metrics import (
    LATENCY_BOUNDS_S,
    LATENCY_BOUNDS_US,
    Distribution,
    Gauge,
    Histogram,
    Reading,
    Untyped,
)
from sigrun.telemetry.metrics import Counter as Count

ROW_BUCKETS: tuple[float, ...] = tuple(2.0**exponent for exponent in range(14))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingStatistics:
    """What batching did for one signature since the server started, and what waits now.

    A batch may be retried in parts: each run counts in `runs` and in the sizes.
    """

    waiting_requests: int
    waiting_rows: int
    refused_requests: int  # as the queue was full, or too long for their deadline
    given_up_requests: int  # cancelled, or past their deadline, before they had an answer
    split_requests: int  # cut into several batches
    shared_batches: int  # divided among runners that had nothing to do
    retried_batches: int  # run again in parts as they had failed
    runs: int
    queue_wait_us: Histogram  # of each request, or piece of one
    request_rows: Histogram
    batch_rows: Histogram  # before padding
    processed_rows: Histogram  # after padding
    padding_rows: Mapping[int, Histogram]  # by size after padding


class BatchRecorder:
    """Counts for one signature. The schedulers of several queues and versions may share it."""

    def __init__(self) -> None:
        self.refused_requests = 0
        self.given_up_requests = 0
        self.split_requests = 0
        self.shared_batches = 0
        self.retried_batches = 0
        self._queue_wait_us = [0] * (len(LATENCY_BOUNDS_US) + 1)
        self._queue_wait_sum_us = 0.0
        # No more keys than a batch can have rows.
        self._requests: Counter[int] = Counter()  # by rows
        self._runs: Counter[tuple[int, int]] = Counter()  # by rows before and after padding
        self._at_once: Counter[int] = Counter()  # by rows; neither in `_requests` nor in `_runs`
        self._queues: weakref.WeakSet[BatchQueue[Any]] = weakref.WeakSet()

    def watch(self, queue: BatchQueue[Any]) -> None:
        """Count what waits in `queue` as long as it exists."""
        self._queues.add(queue)

    def request(self, rows: int) -> None:
        """Count a request that was accepted."""
        self._requests[rows] += 1

    def ran_at_once(self, rows: int) -> None:
        """Count a request that ran by itself without waiting: all there is to count of it."""
        self._at_once[rows] += 1

    def waits(self, waits_s: Iterable[float]) -> None:
        """Count how long the requests or pieces of a batch had waited when it left."""
        for wait_s in waits_s:
            wait_us = wait_s * 1e6
            self._queue_wait_us[bisect_left(LATENCY_BOUNDS_US, wait_us)] += 1
            self._queue_wait_sum_us += wait_us

    def run(self, rows: int, processed_rows: int) -> None:
        """Count a run of `rows` rows, padded to `processed_rows`."""
        self._runs[rows, processed_rows] += 1

    @property
    def statistics(self) -> BatchingStatistics:
        """Everything counted so far."""
        runs = self._runs + Counter({(rows, rows): n for rows, n in self._at_once.items()})
        before, after = Counter[int](), Counter[int]()
        padding: dict[int, Counter[int]] = {}
        for (rows, processed_rows), count in runs.items():
            before[rows] += count
            after[processed_rows] += count
            padding.setdefault(processed_rows, Counter())[processed_rows - rows] += count
        waits_us = [self._at_once.total() + self._queue_wait_us[0], *self._queue_wait_us[1:]]
        return BatchingStatistics(
            waiting_requests=sum(map(len, self._queues)),
            waiting_rows=sum(queue.rows for queue in self._queues),
            refused_requests=self.refused_requests,
            given_up_requests=self.given_up_requests,
            split_requests=self.split_requests,
            shared_batches=self.shared_batches,
            retried_batches=self.retried_batches,
            runs=runs.total(),
            queue_wait_us=Histogram(
                bounds=LATENCY_BOUNDS_US,
                counts=tuple(waits_us),
                sum=self._queue_wait_sum_us,
            ),
            request_rows=_histogram(self._requests + self._at_once),
            batch_rows=_histogram(before),
            processed_rows=_histogram(after),
            padding_rows={size: _histogram(padding[size]) for size in sorted(padding)},
        )


class BatchingInstruments:
    """The recorders of a server, by model and signature; versions of a model share them."""

    def __init__(self) -> None:
        self._recorders: dict[tuple[str, str], BatchRecorder] = {}

    def recorder(self, model: str, signature: str) -> BatchRecorder:
        """Return what counts for this signature; the same one each time."""
        return self._recorders.setdefault((model, signature), BatchRecorder())

    def statistics(self) -> Mapping[tuple[str, str], BatchingStatistics]:
        """Return what was counted, by model and signature."""
        return {key: recorder.statistics for key, recorder in self._recorders.items()}

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        everything = self.statistics()
        for (model, signature), statistics in everything.items():
            yield from _readings(statistics, {"model": model, "signature": signature})
        if everything:
            yield from _tensorflow_serving(list(everything.values()))


def _readings(statistics: BatchingStatistics, labels: Mapping[str, str]) -> Iterable[Reading]:
    for name, help, value in (
        ("queue_requests", "Requests that wait for a batch", statistics.waiting_requests),
        ("queue_rows", "Rows that wait for a batch", statistics.waiting_rows),
    ):
        yield Gauge(name=f"sigrun_batching_{name}", help=help, value=value, labels=labels)
    for name, help, value in (
        (
            "refused_requests",
            "Requests refused as the queue was full, or too long for their deadline",
            statistics.refused_requests,
        ),
        ("given_up_requests", "Requests whose callers left", statistics.given_up_requests),
        ("split_requests", "Requests cut into several batches", statistics.split_requests),
        ("shared_batches", "Batches divided among idle runners", statistics.shared_batches),
        (
            "retried_batches",
            "Batches that failed and ran again in parts",
            statistics.retried_batches,
        ),
        ("runs", "Runs of the model", statistics.runs),
    ):
        yield Count(name=f"sigrun_batching_{name}", help=help, value=value, labels=labels)
    for name, help, histogram in (
        ("queue_wait_seconds", "How long requests waited", _seconds(statistics.queue_wait_us)),
        ("request_rows", "Rows of a request", statistics.request_rows),
        ("batch_rows", "Rows of a run, without padding", statistics.batch_rows),
        ("processed_rows", "Rows of a run, with padding", statistics.processed_rows),
    ):
        yield Distribution(
            name=f"sigrun_batching_{name}", help=help, value=histogram, labels=labels
        )
    for size, histogram in statistics.padding_rows.items():
        yield Distribution(
            name="sigrun_batching_padding_rows",
            help="Rows of padding of a run, by its size after padding",
            value=histogram,
            labels={**labels, "processed_rows": str(size)},
        )


def _tensorflow_serving(all: Sequence[BatchingStatistics]) -> Iterable[Reading]:
    """Yield its metrics, which know neither model nor signature: sums over ours."""
    name = ":tensorflow:serving:batching_session:{}".format
    yield Distribution(
        name=name("queuing_latency"),
        help="Microseconds that requests waited for a batch",
        value=_sum([one.queue_wait_us for one in all]),
        labels={"thread_pool_name": ""},  # TensorFlow Serving leaves it empty too
    )
    yield Untyped(
        name=name("wrapped_run_count"), help="Batches run", value=sum(one.runs for one in all)
    )
    for what, help, histograms in (
        ("input_batch_size", "Rows of a request", [one.request_rows for one in all]),
        ("processed_batch_size", "Rows of a batch", [one.processed_rows for one in all]),
    ):
        yield Distribution(name=name(what), help=help, value=_sum(histograms))
    for size in sorted({size for one in all for size in one.padding_rows}):
        yield Distribution(
            name=name("padding_size"),
            help="Rows of padding of a batch",
            value=_sum([one.padding_rows[size] for one in all if size in one.padding_rows]),
            labels={"execution_batch_size": str(size)},
        )


def _sum(histograms: Sequence[Histogram]) -> Histogram:
    return Histogram(
        bounds=histograms[0].bounds,
        counts=tuple(map(sum, zip(*(one.counts for one in histograms), strict=True))),
        sum=sum(one.sum for one in histograms),
    )


def _seconds(microseconds: Histogram) -> Histogram:
    return Histogram(
        bounds=LATENCY_BOUNDS_S, counts=microseconds.counts, sum=microseconds.sum / 1e6
    )


def _histogram(values: Counter[int]) -> Histogram:
    counts = [0] * (len(ROW_BUCKETS) + 1)
    for value, count in values.items():
        counts[bisect_left(ROW_BUCKETS, value)] += count
    total = sum(value * count for value, count in values.items())
    return Histogram(bounds=ROW_BUCKETS, counts=tuple(counts), sum=total)
