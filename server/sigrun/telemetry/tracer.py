"""Traces of requests, as spans of OpenTelemetry; what is noted in `steps` becomes their children.

The sampler, the processor and the exporter are OpenTelemetry's. The spans are made here: the SDK's
own, which any thread may change until they end, take ten times as long (57 us each, and a request
has four). Those of the steps are made where they are exported, in a thread, for many requests in
a row: on the event loop, between two requests, they would take several times as long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from sigrun import __version__
from sigrun.telemetry.sampling import HeadSampling, child_of
from sigrun.telemetry.steps import Attributes, Step, Trace

_FLUSH_MS = 3000
_SPANS_PER_EXPORT = 512  # by default, as OpenTelemetry says
_SCOPE = InstrumentationScope("sigrun", __version__)
_NO_PARENT = Context()


class Tracer:
    """Begins and ends the spans of requests and batches; a `Recorder`. Used on one event loop.

    `sampler` decides about requests; what is done in one is recorded with it. `make_processor` is
    for tests.
    """

    def __init__(
        self,
        sampler: Sampler,
        exporter: SpanExporter,
        resource: Resource,
        make_processor: Callable[[SpanExporter], SpanProcessor] = BatchSpanProcessor,
    ) -> None:
        self._sampling = HeadSampling(sampler)
        self.drops_new = self._sampling.drops_new
        """Returns whether the next request that is part of no trace is not recorded."""
        self._limits = SpanLimits()  # from the environment
        self._processor = make_processor(_StepsExporter(exporter, self._limits))
        self._resource = _Resource(resource)
        self._propagator = TraceContextTextMapPropagator()

    def begin(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> tuple[Trace | None, Mapping[str, str]]:
        """Begin the span of a request, in the trace that its W3C `headers` name, or a new one.

        Returns the trace, None if it is not recorded, and the headers for those who are asked
        on the way.
        """
        parent = self._propagator.extract(headers) if headers else _NO_PARENT
        context, result = self._sampling.decide(parent, name, SpanKind.SERVER, attributes)
        ids = f"{context.trace_id:032x}-{context.span_id:016x}"
        onwards = {"traceparent": f"00-{ids}-{context.trace_flags:02x}"}
        if context.trace_state:
            onwards["tracestate"] = context.trace_state.to_header()
        if result.decision is Decision.DROP:
            return None, onwards
        known = get_current_span(parent).get_span_context()
        span = _Span(
            name,
            context,
            known if known.is_valid else None,
            self._resource,
            kind=SpanKind.SERVER,
        )
        span.describe(result.attributes)  # with what the sampler adds
        return Trace(self, span), onwards

    def describe(self, trace: Trace, attributes: Attributes, *, failure: str | None = None) -> None:
        """Add what is known at the end of a request; `failure` says that it is the server's."""
        _span(trace).describe(attributes, failure)

    def begin_batch(self, requests: Sequence[Trace], attributes: Attributes) -> Trace:
        """Return a trace for what is done for several requests at once, linked to each.

        It is in the trace of the first of them.
        """
        links = [Link(_span(request).own) for request in requests]
        first = _span(requests[0]).own
        span = _Span(
            "batch",
            child_of(first),
            first,
            self._resource,
            links=BoundedList.from_seq(self._limits.max_links, links),
        )
        span.describe(attributes)
        return Trace(self, span)

    def end(self, trace: Trace) -> None:
        """Record the trace with all its steps."""
        span = _span(trace)
        span.end(trace.steps)
        self._processor.on_end(span)

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""
        self._processor.force_flush(_FLUSH_MS)
        self._processor.shutdown()


class _Resource(Resource):
    """A resource that is hashed once: the exporter does so for each span, and dumps it as JSON."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class _Span(ReadableSpan):
    """A request or a batch, and the steps in it.

    It reads the clock once and goes by `time.perf_counter` from there, as its steps do: a clock
    that is set meanwhile shifts none of them against the others.
    """

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        resource: Resource,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
    ) -> None:
        super().__init__(
            name,
            context,
            parent,
            resource,
            links=links,
            kind=kind,
            instrumentation_scope=_SCOPE,
        )
        self.own = context
        self.steps: Sequence[Step] = ()
        self._described: dict[str, AttributeValue] = {}
        self._began_ns, self._began = time.time_ns(), time.perf_counter()
        self._start_time = self._began_ns

    def at_ns(self, time_s: float) -> int:
        """Return when it was `time_s` by `time.perf_counter`, in nanoseconds since 1970."""
        return self._began_ns + int((time_s - self._began) * 1e9)

    def describe(self, attributes: Attributes, failure: str | None = None) -> None:
        """Add attributes, and why the span failed if it did."""
        self._described.update(attributes)
        if failure is not None:
            self._status = Status(StatusCode.ERROR, failure)

    def end(self, steps: Sequence[Step]) -> None:
        """Say that the span is over, and what was done in it."""
        self.steps = tuple(steps)  # a batch may still note some
        self._end_time = self.at_ns(time.perf_counter())

    def bound(self, limits: SpanLimits) -> None:
        """Take what was described as attributes, within limits that seldom matter."""
        self._attributes = _bounded(self._described, limits)


class _StepsExporter(SpanExporter):
    """Makes the spans of steps, and hands them on before those that they are in."""

    def __init__(self, exporter: SpanExporter, limits: SpanLimits) -> None:
        self._exporter = exporter
        self._limits = limits
        most = os.environ.get(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, "")
        self._most = int(most) if most.isdecimal() and int(most) else _SPANS_PER_EXPORT

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        every = [one for span in spans for one in self._with_steps(span)]
        parts = [every[at : at + self._most] for at in range(0, len(every), self._most)]
        results = [self._exporter.export(part) for part in parts]
        failed = SpanExportResult.FAILURE
        return failed if failed in results else SpanExportResult.SUCCESS

    def _with_steps(self, whole: ReadableSpan) -> Iterator[ReadableSpan]:
        if isinstance(whole, _Span):
            for step in whole.steps:
                yield ReadableSpan(
                    step.name,
                    child_of(whole.own),
                    whole.own,
                    whole.resource,
                    _bounded(step.attributes, self._limits),
                    links=() if step.link is None else (Link(_span(step.link).own),),
                    start_time=whole.at_ns(step.began),
                    end_time=whole.at_ns(step.ended),
                    instrumentation_scope=_SCOPE,
                )
            whole.bound(self._limits)
        yield whole

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _bounded(
    attributes: Mapping[str, AttributeValue], limits: SpanLimits
) -> Mapping[str, AttributeValue]:
    most, longest = limits.max_span_attributes, limits.max_span_attribute_length
    if longest is None and (most is None or len(attributes) <= most):
        return attributes
    return BoundedAttributes(most, attributes, max_value_len=longest)


def _span(trace: Trace) -> _Span:
    span: _Span = trace.span  # type: ignore[assignment]  # made here, and nowhere else
    return span
