"""What is recorded of a request or a batch, and the spans of OpenTelemetry that are made of it.

The SDK's own spans, which any thread may change until they end, take ten times as long (57 us each,
and a request has four). Here the server notes plain values, and spans are made where they are
exported: as a rule in the trace process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import AttributeValue

from sigrun import __version__

_FLUSH_MS = 3000
_SCOPE = InstrumentationScope("sigrun", __version__)
_UNSET = Status(StatusCode.UNSET)
new_span_id = RandomIdGenerator().generate_span_id

Ids = tuple[int, int, int, str, bool]
"""Which span: of a trace, by its own id, the flags, the `tracestate`, and whether it is remote."""

RecordedStep = tuple[str, int, int, Mapping[str, AttributeValue], Ids | None]
"""One thing that was done: its name, when it began and ended in nanoseconds since 1970, attributes
and the span that it has a link to, if any."""


class Recorded(NamedTuple):
    """A request or a batch that is over. Plain values, as it is pickled. Times as of a step."""

    name: str
    is_request: bool
    own: Ids
    parent: Ids | None
    links: tuple[Ids, ...]
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, AttributeValue]
    failure: str | None
    steps: tuple[RecordedStep, ...]


class Spans:
    """Makes the spans of what was recorded, and hands them to a processor. Used in one thread."""

    def __init__(self, processor: SpanProcessor, resource: Resource) -> None:
        self._processor = processor
        self._resource = _Resource(resource)
        self._limits = SpanLimits()  # from the environment

    def put(self, recorded: Recorded) -> None:
        """Have the spans of the steps sent, and after them the one that they are in."""
        for span in self._spans(recorded):
            self._processor.on_end(span)

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""
        self._processor.force_flush(_FLUSH_MS)
        self._processor.shutdown()

    def _spans(self, recorded: Recorded) -> Iterator[ReadableSpan]:
        own = _context(recorded.own)
        for name, began_ns, ended_ns, attributes, link in recorded.steps:
            yield ReadableSpan(
                name,
                _context((own.trace_id, new_span_id(), *recorded.own[2:])),
                own,
                self._resource,
                self._bounded(attributes),
                links=() if link is None else (Link(_context(link)),),
                start_time=began_ns,
                end_time=ended_ns,
                instrumentation_scope=_SCOPE,
            )
        failure, parent = recorded.failure, recorded.parent
        yield ReadableSpan(
            recorded.name,
            own,
            None if parent is None else _context(parent),
            self._resource,
            self._bounded(recorded.attributes),
            links=BoundedList.from_seq(
                self._limits.max_links, [Link(_context(link)) for link in recorded.links]
            ),
            kind=SpanKind.SERVER if recorded.is_request else SpanKind.INTERNAL,
            status=_UNSET if failure is None else Status(StatusCode.ERROR, failure),
            start_time=recorded.began_ns,
            end_time=recorded.ended_ns,
            instrumentation_scope=_SCOPE,
        )

    def _bounded(self, attributes: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
        """Return them within limits that seldom matter."""
        most = self._limits.max_span_attributes
        longest = self._limits.max_span_attribute_length
        if longest is None and (most is None or len(attributes) <= most):
            return attributes
        return BoundedAttributes(most, attributes, max_value_len=longest)


class _Resource(Resource):
    """A resource that is hashed once: the exporter does so for each span, and dumps it as JSON."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _context(ids: Ids) -> SpanContext:
    trace_id, span_id, flags, state, is_remote = ids
    known = TraceState.from_header([state]) if state else None
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(flags), known)
