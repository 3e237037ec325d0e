from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sigrun.telemetry.metrics import (
    Counter,
    Distribution,
    Gauge,
    Histogram,
    Metrics,
    Reading,
)


def samples(*readings: Reading) -> dict[str, float]:
    """Return every sample by its name and labels, as a scraper reads them."""
    metrics = Metrics()
    metrics.add(lambda: readings)
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sample.labels.items()): (
            sample.value
        )
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_gauges_and_counters_are_shown_with_their_labels() -> None:
    shown = samples(
        Gauge(name="waiting", help="Now", value=3, labels={"model": "a"}),
        Gauge(name="waiting", help="Now", value=4, labels={"model": 'b"\n'}),
        Counter(name="runs", help="So far", value=7),
    )

    assert shown == {"waiting model=a": 3, 'waiting model=b"\n': 4, "runs_total": 7}


def test_a_distribution_is_shown_in_buckets_that_add_up() -> None:
    histogram = Histogram(bounds=(1.0, 2.5), counts=(2, 0, 1), sum=11.5)

    shown = samples(Distribution(name="rows", help="Of a run", value=histogram))

    assert shown == {
        "rows_bucket le=1": 2,
        "rows_bucket le=2.5": 2,
        "rows_bucket le=+Inf": 3,
        "rows_count": 3,
        "rows_sum": 11.5,
    }


def test_sources_are_read_at_each_look() -> None:
    metrics, value = Metrics(), 1
    metrics.add(lambda: [Gauge(name="waiting", help="Now", value=value)])
    assert b"waiting 1.0" in metrics.text()

    value = 2

    assert b"waiting 2.0" in metrics.text()


def test_one_name_is_of_one_kind() -> None:
    with pytest.raises(TypeError, match="waiting"):
        samples(
            Gauge(name="waiting", help="Now", value=1),
            Counter(name="waiting", help="So far", value=1),
        )
