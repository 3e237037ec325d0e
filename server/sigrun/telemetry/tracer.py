"""Traces of requests, as spans of OpenTelemetry; what is noted in `steps` becomes their children.

The sampler, the processor and the exporter are OpenTelemetry's. The spans are made here, whole and
when they are over: the SDK's own, which can be changed until then by any thread, take ten times as
long (57 us each, and a request has five).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
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
from sigrun.telemetry.sampling import HeadSampling
from sigrun.telemetry.steps import Attributes, Trace

_FLUSH_MS = 3000
_SCOPE = InstrumentationScope("sigrun", __version__)
_NO_PARENT = Context()
_UNSET = Status()


class _Resource(Resource):
    """A resource that is hashed once: the exporter does so for each span, and dumps it as JSON."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class _Span:
    """The span of a request or a batch until it is over.

    It reads the clock once and goes by `time.perf_counter` from there, as its steps do: a clock
    that is set meanwhile shifts none of them against the others.
    """

    def __init__(
        self,
        name: str,
        context: SpanContext,
        attributes: Attributes,
        *,
        parent: SpanContext | None,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
    ) -> None:
        self.name = name
        self.context = context
        self.attributes = attributes
        self.parent = parent
        self.kind = kind
        self.links = links
        self.status = _UNSET
        self.began_ns, self.began = time.time_ns(), time.perf_counter()

    def at_ns(self, time_s: float) -> int:
        """Return when it was `time_s` by `time.perf_counter`, in nanoseconds since 1970."""
        return self.began_ns + int((time_s - self.began) * 1e9)


class Tracer:
    """Begins and ends the spans of requests and batches; a `Recorder`. Used on one event loop.

    `sampler` decides about requests; what is done in one is recorded with it.
    """

    def __init__(self, sampler: Sampler, processor: SpanProcessor, resource: Resource) -> None:
        self._sampling = HeadSampling(sampler)
        self._processor = processor
        self._finished = functools.partial(
            ReadableSpan, resource=_Resource(resource), instrumentation_scope=_SCOPE
        )
        self._limits = SpanLimits()  # from the environment
        self._propagator = TraceContextTextMapPropagator()

    def drops_new(self) -> bool:
        """Return whether the next request that is part of no trace is not recorded.

        For where nobody is asked on the way. False says nothing: `begin` decides then.
        """
        return self._sampling.drops_new()

    def begin(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> tuple[Trace | None, Mapping[str, str]]:
        """Begin the span of a request, in the trace that its W3C `headers` name, or a new one.

        Returns the trace, None if it is not recorded, and the headers for those who are asked
        on the way.
        """
        parent = self._propagator.extract(headers) if headers else _NO_PARENT
        context, result = self._sampling.decide(parent, name, SpanKind.SERVER, attributes)
        onwards = {
            "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}"
            f"-{context.trace_flags:02x}"
        }
        if context.trace_state:
            onwards["tracestate"] = context.trace_state.to_header()
        if result.decision is Decision.DROP:
            return None, onwards
        known = get_current_span(parent).get_span_context()
        span = _Span(
            name,
            context,
            dict(result.attributes),
            parent=known if known.is_valid else None,
            kind=SpanKind.SERVER,
        )
        return Trace(self, span), onwards

    def describe(self, trace: Trace, attributes: Attributes, *, failure: str | None = None) -> None:
        """Add what is known at the end of a request; `failure` says that it is the server's."""
        span = _span(trace)
        span.attributes = {**span.attributes, **attributes}
        if failure is not None:
            span.status = Status(StatusCode.ERROR, failure)

    def begin_batch(self, requests: Sequence[Trace], attributes: Attributes) -> Trace:
        """Return a trace for what is done for several requests at once, linked to each.

        It is in the trace of the first of them.
        """
        first = _span(requests[0]).context
        links = [Link(_span(request).context) for request in requests]
        context = self._sampling.child(first)
        return Trace(self, _Span("batch", context, attributes, parent=first, links=links))

    def end(self, trace: Trace) -> None:
        """Record the trace with all its steps."""
        span = _span(trace)
        record, make = self._processor.on_end, self._finished
        for step in trace.steps:
            record(
                make(
                    name=step.name,
                    context=self._sampling.child(span.context),
                    parent=span.context,
                    attributes=self._bounded(step.attributes),
                    links=() if step.link is None else (Link(_span(step.link).context),),
                    start_time=span.at_ns(step.began),
                    end_time=span.at_ns(step.ended),
                )
            )
        record(
            make(
                name=span.name,
                context=span.context,
                parent=span.parent,
                kind=span.kind,
                attributes=self._bounded(span.attributes),
                links=BoundedList.from_seq(self._limits.max_links, span.links),
                status=span.status,
                start_time=span.began_ns,
                end_time=span.at_ns(time.perf_counter()),
            )
        )

    def _bounded(self, attributes: Attributes) -> Mapping[str, AttributeValue]:
        """Return the attributes within the limits of OpenTelemetry, which seldom matter."""
        limits = self._limits
        most, longest = limits.max_span_attributes, limits.max_span_attribute_length
        if longest is None and (most is None or len(attributes) <= most):
            return attributes
        return BoundedAttributes(most, attributes, max_value_len=longest)

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""
        self._processor.force_flush(_FLUSH_MS)
        self._processor.shutdown()


def _span(trace: Trace) -> _Span:
    span: _Span = trace.span  # type: ignore[assignment]  # made here, and nowhere else
    return span
