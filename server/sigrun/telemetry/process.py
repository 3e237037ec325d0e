"""The process as Prometheus wants to know it: CPU, memory, descriptors, and what is running.

The names are those that Prometheus' own libraries give; on systems without /proc only what the
versions are is known.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable

from prometheus_client import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from sigrun import __version__
from sigrun.telemetry.metrics import Counter, Gauge, Reading

_COUNTERS = frozenset({"process_cpu_seconds"})


class ProcessMetrics:
    """Reads what the system knows about this process at every look."""

    def __init__(self) -> None:
        self._process = ProcessCollector(registry=CollectorRegistry())

    def readings(self) -> Iterable[Reading]:
        """Return what is the case now, as metrics."""
        yield Gauge(
            name="sigrun_build_info",
            help="1; the labels say what runs",
            value=1,
            labels={"version": __version__, "python": platform.python_version()},
        )
        for family in self._process.collect():
            for sample in family.samples:
                kind = Counter if family.name in _COUNTERS else Gauge
                yield kind(name=family.name, help=family.documentation, value=sample.value)
