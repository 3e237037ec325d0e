"""The counts of processes add up to those of one server."""

from __future__ import annotations

import pytest

from sigrun.telemetry.metrics import Counter, Distribution, Gauge, Histogram, Reading, Untyped
from sigrun.workers.merging import lasting, merged, of_the_whole


def count(value: float, **labels: str) -> Counter:
    return Counter(name="sigrun_requests", help="Requests", value=value, labels=labels)


def test_counters_of_the_same_labels_are_summed() -> None:
    one, other = [count(1, model="a"), count(2, model="b")], [count(10, model="a")]

    assert merged([*one, *other]) == [count(11, model="a"), count(2, model="b")]


def test_histograms_are_summed_bucket_by_bucket() -> None:
    def distribution(counts: tuple[int, ...], total: float) -> Distribution:
        value = Histogram(bounds=(1.0, 2.0), counts=counts, sum=total)
        return Distribution(name="waits", help="Waits", value=value)

    assert merged([distribution((1, 2, 3), 5.0), distribution((0, 1, 0), 1.5)]) == [
        distribution((1, 3, 3), 6.5)
    ]


@pytest.mark.parametrize(
    ("name", "whole"),
    [("sigrun_threads", 5), ("sigrun_in_flight_bytes_limit", 5), ("process_start_time_seconds", 3)],
)
def test_gauges_are_summed_except_where_they_say_what_is_so(name: str, whole: float) -> None:
    readings = [Gauge(name=name, help="", value=value) for value in (2, 3)]

    assert merged(readings) == [Gauge(name=name, help="", value=whole)]


def test_readings_of_one_name_and_two_kinds_are_refused() -> None:
    readings: list[Reading] = [
        Gauge(name="x", help="", value=1),
        Untyped(name="x", help="", value=1),
    ]

    with pytest.raises(TypeError, match="x is a Gauge and a Untyped"):
        merged(readings)


def test_what_a_worker_had_counted_stays_in_the_sum_and_its_gauges_do_not() -> None:
    gauge = Gauge(name="sigrun_threads", help="", value=4)
    gone = lasting([count(5), gauge])

    assert of_the_whole([count(1)], gone, []) == [count(6)]


def test_of_the_supervisor_counts_what_it_alone_knows_and_what_every_process_has() -> None:
    serving = Gauge(name="sigrun_workers_serving", help="", value=2)
    cpu = Counter(name="process_cpu_seconds", help="", value=1)
    own: list[Reading] = [count(100), serving, cpu]

    assert of_the_whole([count(1), cpu], [], own) == [
        count(1),
        Counter(name="process_cpu_seconds", help="", value=2),
        serving,
    ]
