from __future__ import annotations

import gc

import numpy as np

from sigrun.batching.pending import Pending
from sigrun.batching.queue import BatchQueue
from sigrun.batching.statistics import BatchingInstruments, BatchRecorder
from sigrun.config.batching import BatchingOptions
from sigrun.telemetry.metrics import Metrics


def test_what_was_counted_is_read_in_buckets() -> None:
    recorder = BatchRecorder()
    for rows in (1, 2, 3, 4, 5):
        recorder.request(rows)

    histogram = recorder.statistics.request_rows

    assert histogram.bounds[:4] == (1, 2, 4, 8)
    assert histogram.counts[:5] == (1, 1, 2, 1, 0)
    assert (histogram.count, histogram.sum) == (5, 15)


def test_values_above_every_bound_are_in_the_last_bucket() -> None:
    recorder = BatchRecorder()

    recorder.waits([1e9])

    assert recorder.statistics.queue_wait_us.counts[-1] == 1


def test_waits_are_counted_in_microseconds() -> None:
    recorder = BatchRecorder()

    recorder.waits([0.000001, 0.000017])

    assert recorder.statistics.queue_wait_us.counts[:3] == (1, 1, 0)
    assert round(recorder.statistics.queue_wait_us.sum) == 18


def test_runs_are_counted_before_and_after_padding() -> None:
    recorder = BatchRecorder()
    recorder.run(3, 4)
    recorder.run(4, 4)
    recorder.run(5, 8)

    statistics = recorder.statistics

    assert statistics.runs == 3
    assert statistics.batch_rows.sum == 12
    assert statistics.processed_rows.sum == 16
    assert {size: padding.sum for size, padding in statistics.padding_rows.items()} == {4: 1, 8: 3}


def test_what_waits_is_counted_as_long_as_its_queue_exists() -> None:
    recorder = BatchRecorder()
    queue: BatchQueue[None] = BatchQueue(BatchingOptions())
    recorder.watch(queue)
    queue.add(Pending([np.zeros(3)], rows=3, form="", enqueued_at=0.0, deadline=None, reply=None))

    waiting = recorder.statistics
    del queue
    gc.collect()
    gone = recorder.statistics

    assert (waiting.waiting_requests, waiting.waiting_rows) == (1, 3)
    assert (gone.waiting_requests, gone.waiting_rows) == (0, 0)


def test_there_is_one_recorder_for_each_signature_of_a_model() -> None:
    instruments = BatchingInstruments()
    instruments.recorder("mnist", "serving_default").request(2)
    instruments.recorder("mnist", "serving_default").request(3)
    instruments.recorder("mnist", "other").request(5)

    statistics = instruments.statistics()

    assert {key: value.request_rows.sum for key, value in statistics.items()} == {
        ("mnist", "serving_default"): 5,
        ("mnist", "other"): 5,
    }


def test_everything_that_is_counted_is_shown_as_metrics() -> None:
    instruments = BatchingInstruments()
    recorder = instruments.recorder("mnist", "serving_default")
    recorder.request(3)
    recorder.waits([0.001])
    recorder.run(3, 4)
    recorder.refused_requests = 2
    metrics = Metrics()
    metrics.add(instruments.readings)

    text = metrics.text().decode()

    labels = 'model="mnist",signature="serving_default"'
    assert f"sigrun_batching_queue_requests{{{labels}}} 0.0" in text
    assert f"sigrun_batching_refused_requests_total{{{labels}}} 2.0" in text
    assert f"sigrun_batching_runs_total{{{labels}}} 1.0" in text
    assert f"sigrun_batching_request_rows_sum{{{labels}}} 3.0" in text
    assert f"sigrun_batching_processed_rows_sum{{{labels}}} 4.0" in text
    assert f"sigrun_batching_queue_wait_seconds_sum{{{labels}}} 0.001" in text
    labels = 'model="mnist",processed_rows="4",signature="serving_default"'
    assert f"sigrun_batching_padding_rows_sum{{{labels}}} 1.0" in text
