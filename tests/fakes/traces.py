"""A tracer whose spans stay in memory, each as soon as it is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

from sigrun.telemetry.spans import Spans
from sigrun.telemetry.tracer import Tracer


class Traces:
    """The tracer, and the spans that it has made."""

    def __init__(self, sampler: Sampler = DEFAULT_ON) -> None:
        self._exporter = InMemorySpanExporter()
        resource = Resource({"service.name": "test"})
        spans = Spans(SimpleSpanProcessor(self._exporter), resource)
        self.tracer = Tracer(sampler, spans)

    @property
    def spans(self) -> Sequence[Any]:
        return self._exporter.get_finished_spans()
