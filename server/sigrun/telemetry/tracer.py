"""Traces of requests, by OpenTelemetry; what is noted in `steps` becomes their children.

The sampler and what travels in headers are OpenTelemetry's. A request costs only what has to be
noted of it: `spans` makes the spans, elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import SpanContext, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from sigrun.telemetry.sampling import HeadSampling
from sigrun.telemetry.spans import Ids, Recorded, RecordedStep, new_span_id
from sigrun.telemetry.steps import Attributes, Step, Trace

_NO_PARENT = Context()


class Sink(Protocol):
    """Takes what is recorded."""

    def put(self, recorded: Recorded) -> None:
        """Have it sent to whoever collects traces, without waiting for that."""

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""


class Tracer:
    """Records requests and batches; a `Recorder`. Used on one event loop.

    `sampler` decides about requests; what is done in one is recorded with it.
    """

    def __init__(self, sampler: Sampler, sink: Sink) -> None:
        self._sampling = HeadSampling(sampler)
        self.drops_new = self._sampling.drops_new
        """Returns whether the next request that is part of no trace is not recorded."""
        self._sink = sink
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
        span = _Span(name, _ids(context), _ids(known) if known.is_valid else None, is_request=True)
        span.attributes.update(result.attributes)  # with what the sampler adds
        return Trace(self, span), onwards

    def describe(self, trace: Trace, attributes: Attributes, *, failure: str | None = None) -> None:
        """Add what is known at the end of a request; `failure` says that it is the server's."""
        span = _span(trace)
        span.attributes.update(attributes)
        if failure is not None:
            span.failure = failure

    def begin_batch(self, requests: Sequence[Trace], attributes: Attributes) -> Trace:
        """Return a trace for what is done for several requests at once, linked to each.

        It is in the trace of the first of them.
        """
        first = _span(requests[0]).own
        trace_id, _, flags, state, _ = first
        own = trace_id, new_span_id(), flags, state, False
        links = tuple([_span(request).own for request in requests])
        span = _Span("batch", own, first, links)
        span.attributes.update(attributes)
        return Trace(self, span)

    def end(self, trace: Trace) -> None:
        """Record the trace with all its steps; a batch may note some later, which are lost."""
        self._sink.put(_span(trace).ended(trace.steps))

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""
        self._sink.close()


class _Span:
    """A request or a batch that is under way.

    It reads the clock once and goes by `time.perf_counter` from there, as its steps do: a clock
    that is set meanwhile shifts none of them against the others.
    """

    __slots__ = (
        "_began",
        "_began_ns",
        "_is_request",
        "_links",
        "_name",
        "_parent",
        "attributes",
        "failure",
        "own",
    )

    def __init__(
        self,
        name: str,
        own: Ids,
        parent: Ids | None,
        links: tuple[Ids, ...] = (),
        *,
        is_request: bool = False,
    ) -> None:
        self._name = name
        self.own = own
        self._parent = parent
        self._links = links
        self._is_request = is_request
        self.attributes: dict[str, AttributeValue] = {}
        self.failure: str | None = None
        self._began_ns, self._began = time.time_ns(), time.perf_counter()

    def ended(self, steps: Sequence[Step]) -> Recorded:
        """Return what there is to say of it, now that it is over."""
        return Recorded(
            self._name,
            self._is_request,
            self.own,
            self._parent,
            self._links,
            self._began_ns,
            self._at_ns(time.perf_counter()),
            self.attributes,
            self.failure,
            tuple([self._recorded(step) for step in steps]),
        )

    def _recorded(self, step: Step) -> RecordedStep:
        name, began, ended, attributes, link = step
        linked = None if link is None else _span(link).own
        return name, self._at_ns(began), self._at_ns(ended), dict(attributes), linked

    def _at_ns(self, time_s: float) -> int:
        """Return when it was `time_s` by `time.perf_counter`, in nanoseconds since 1970."""
        return self._began_ns + int((time_s - self._began) * 1e9)


def _ids(context: SpanContext) -> Ids:
    state = context.trace_state.to_header() if context.trace_state else ""
    return context.trace_id, context.span_id, int(context.trace_flags), state, context.is_remote


def _span(trace: Trace) -> _Span:
    span: _Span = trace.span  # type: ignore[assignment]  # made here, and nowhere else
    return span
