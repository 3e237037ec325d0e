"""The counts of several processes as the counts of one server: pure functions.

Counters and distributions are summed, those of workers that have ended included, so that no sum
ever falls. Gauges are summed too, which is what numbers of threads, requests, bytes and limits
come to; flags and times are the highest of any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sigrun.telemetry.metrics import Counter, Distribution, Gauge, Histogram, Reading, Untyped

_Key = tuple[str, tuple[tuple[str, str], ...]]

_HIGHEST = ("_success", "_timestamp_seconds", "_start_time_seconds", "_info", "_state", "_failed")
"""How the names of gauges end that say what is so, and not how much there is."""

OF_THE_SUPERVISOR = (
    "sigrun_worker",
    "sigrun_reload",
    "sigrun_last_reload",
    "sigrun_settle_duration",
    "sigrun_model_version",
    "sigrun_base_path",
    "sigrun_object_store",
)
"""How the names begin of what only the supervisor knows for the whole."""

_OF_EACH_PROCESS = ("process_", "sigrun_log_lines", "sigrun_event_loop_lag", "sigrun_accept_pauses")


def merged(readings: Iterable[Reading]) -> list[Reading]:
    """Return one reading for each name and set of labels, in the order of the first of each."""
    merged: dict[_Key, Reading] = {}
    for reading in readings:
        key = (reading.name, tuple(sorted(reading.labels.items())))
        known = merged.get(key)
        merged[key] = reading if known is None else _sum(known, reading)
    return list(merged.values())


def of_the_whole(
    workers: Iterable[Reading], ended: Iterable[Reading], supervisor: Iterable[Reading]
) -> list[Reading]:
    """Return the readings of a server from those of its processes.

    `ended` is what workers had counted that are gone. Of the supervisor counts what it alone
    knows, and what every process has.
    """
    serving = (r for r in workers if not r.name.startswith(OF_THE_SUPERVISOR))
    leading = (r for r in supervisor if r.name.startswith((*OF_THE_SUPERVISOR, *_OF_EACH_PROCESS)))
    return merged([*serving, *ended, *leading])


def lasting(readings: Iterable[Reading]) -> list[Reading]:
    """Return what is still true of a worker that has ended: all but the gauges."""
    return [
        reading
        for reading in readings
        if not isinstance(reading, Gauge) and not reading.name.startswith(OF_THE_SUPERVISOR)
    ]


def _sum(one: Reading, other: Reading) -> Reading:
    match one, other:
        case Distribution(), Distribution():
            return dataclasses.replace(one, value=_sum_of_histograms(one.value, other.value))
        case Gauge(), Gauge():
            values = (one.value, other.value)
            value = max(values) if one.name.endswith(_HIGHEST) else sum(values)
            return dataclasses.replace(one, value=value)
        case Counter(), Counter():
            return dataclasses.replace(one, value=one.value + other.value)
        case Untyped(), Untyped():
            return dataclasses.replace(one, value=one.value + other.value)
    raise TypeError(f"{one.name} is a {type(one).__name__} and a {type(other).__name__}")


def _sum_of_histograms(one: Histogram, other: Histogram) -> Histogram:
    if one.bounds != other.bounds:
        raise ValueError(f"histograms of other bounds: {one.bounds} and {other.bounds}")
    counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(bounds=one.bounds, counts=counts, sum=one.sum + other.sum)
