"""What the parts of the server count, as text for Prometheus.

In: sources, each a function that returns what it has counted so far. Out: the exposition format.
Parts count in their own cheap ways and know no exporter; nothing is computed until somebody
looks.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import CollectorRegistry

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4.encode()

# TensorFlow Serving's buckets for latencies: 33 of them, from 10 us, each 1.8 times the last.
LATENCY_BOUNDS_US = tuple(10.0 * 1.8**power for power in range(33))
LATENCY_BOUNDS_S = tuple(bound / 1e6 for bound in LATENCY_BOUNDS_US)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many values fell in each bucket: up to each bound, and last those above them all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


class Buckets:
    """A histogram that is added to."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_all(self, other: Buckets) -> None:
        """Count all that `other`, which has the same bounds, has counted."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self._sum += other._sum

    @property
    def histogram(self) -> Histogram:
        """What was counted."""
        return Histogram(bounds=self._bounds, counts=tuple(self._counts), sum=self._sum)


def in_microseconds(seconds: Histogram) -> Histogram:
    """Return a histogram of `LATENCY_BOUNDS_S` with the bounds that TensorFlow Serving has."""
    return Histogram(bounds=LATENCY_BOUNDS_US, counts=seconds.counts, sum=seconds.sum * 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """What is shown of every reading."""

    name: str
    help: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge(_Named):
    """What is the case now."""

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter(_Named):
    """How often something has happened; the name is shown with `_total` behind it."""

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Untyped(_Named):
    """How often something has happened, under a name that another server gave it.

    Prometheus wants `_total` behind the name of a counter; such a name has none.
    """

    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution(_Named):
    """How values are distributed."""

    value: Histogram


Reading = Gauge | Counter | Untyped | Distribution
Source = Callable[[], Iterable[Reading]]
"""Returns what was counted; those of one name have the same kind, help and names of labels."""

F = TypeVar("F", GaugeMetricFamily, CounterMetricFamily, UnknownMetricFamily, HistogramMetricFamily)


class Exposition(Protocol):
    """Shows what was counted."""

    async def page(self) -> bytes:
        """Return everything in Prometheus' text format 0.0.4."""


class Metrics:
    """Everything that can be looked at; sources are read at each look, on the event loop.

    Those that read files are read in a thread.
    """

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._blocking: list[Source] = []
        self._from_thread: list[Reading] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def add(self, source: Source) -> None:
        """Show what `source` returns."""
        self._sources.append(source)

    def add_blocking(self, source: Source) -> None:
        """Show what `source` returns, which is called in a thread."""
        self._blocking.append(source)

    async def page(self) -> bytes:
        """Return everything in Prometheus' text format 0.0.4."""
        self._from_thread = await asyncio.to_thread(self._read_blocking)
        return self.text()

    async def readings(self) -> list[Reading]:
        """Return everything as readings."""
        from_thread = await asyncio.to_thread(self._read_blocking)
        return [*(reading for source in self._sources for reading in source()), *from_thread]

    def _read_blocking(self) -> list[Reading]:
        return [reading for source in self._blocking for reading in source()]

    def text(self) -> bytes:
        """Return the same, with what `page` has last read in a thread."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Return the families of metrics; what `prometheus_client` asks of a collector."""
        families: dict[str, Metric] = {}
        for source in self._sources:
            for reading in source():
                _add(families, reading)
        for reading in self._from_thread:
            _add(families, reading)
        return families.values()


def _add(families: dict[str, Metric], reading: Reading) -> None:
    values = list(reading.labels.values())
    match reading:
        case Gauge():
            _family(families, GaugeMetricFamily, reading).add_metric(values, reading.value)
        case Counter():
            _family(families, CounterMetricFamily, reading).add_metric(values, reading.value)
        case Untyped():
            _family(families, UnknownMetricFamily, reading).add_metric(values, reading.value)
        case Distribution():
            family = _family(families, HistogramMetricFamily, reading)
            family.add_metric(values, _cumulative(reading.value), reading.value.sum)


def _family(families: dict[str, Metric], kind: type[F], reading: Reading) -> F:
    family = families.get(reading.name)
    if family is None:
        family = kind(reading.name, reading.help, labels=list(reading.labels))
        families[reading.name] = family
    if not isinstance(family, kind):
        raise TypeError(f"{reading.name} is a {type(family).__name__} and a {kind.__name__}")
    return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    bounds = [*map(_bound, histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _bound(value: float) -> str:
    return f"{value:.6g}"
