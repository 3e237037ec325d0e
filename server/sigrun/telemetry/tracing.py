"""Traces of requests, as spans of OpenTelemetry; what is noted in `steps` becomes their children.

Everything is set as OpenTelemetry says, by variables of the environment: `OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_ENDPOINT` and so on. Tracing is on when one of those that
say where spans go is set. It needs the extra `sigrun[otel]`, which is imported only then.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sigrun import __version__
from sigrun.errors import InvalidArgument
from sigrun.telemetry.steps import Attributes, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanContext

logger = logging.getLogger(__name__)

_SWITCHES = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
_PROTOCOLS = ("grpc", "http/protobuf")
_FLUSH_MS = 3000


def tracer_from_environment(
    environment: Mapping[str, str] = os.environ, *, service: str
) -> Tracer | None:
    """Return a tracer if the environment asks for one; `service` is its name if none is given.

    Without the extra it is said in the log that there is none. Raises `InvalidArgument` for an
    exporter or a protocol that is not known.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() or "otlp"
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or exporter == "none" or not any(environment.get(name) for name in _SWITCHES):
        return None
    try:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        logger.warning(
            "The environment asks for traces (OTEL_...), and there are none without "
            "OpenTelemetry: pip install 'sigrun[otel]'"
        )
        return None
    resource = Resource.create({"service.version": __version__})
    if not environment.get("OTEL_SERVICE_NAME") and "service.name" not in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        resource = resource.merge(Resource({"service.name": service}))
    provider = TracerProvider(resource=resource)
    tracer = Tracer(provider)
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter, environment)))
    logger.info("tracing is on, to %s", exporter)
    return tracer


def _exporter(name: str, environment: Mapping[str, str]) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter()
    if name != "otlp":
        raise InvalidArgument(f"OTEL_TRACES_EXPORTER is otlp, console or none, not {name!r}")
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {' or '.join(_PROTOCOLS)}, not {protocol!r}"
        )
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter as HttpExporter,
    )

    return HttpExporter()


class Tracer:
    """Begins and ends the spans of requests and batches; a `Recorder`. Used on one event loop.

    Takes over the sampler and the ids of `provider`.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.context import Context  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        from sigrun.telemetry.sampling import HeadSampling  # noqa: PLC0415

        self._api = trace
        self._no_parent = Context()
        self._provider = provider
        self._sampling = HeadSampling(provider)
        self._tracer = provider.get_tracer("sigrun", __version__)
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self._perf_to_ns = time.time_ns() - time.perf_counter_ns()

    def drops_new(self) -> bool:
        """Return whether the next request that is part of no trace is not recorded.

        For where nobody is asked on the way. False says nothing: `begin` decides then.
        """
        return self._sampling.drops_new()

    def begin(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> tuple[Trace | None, Mapping[str, str]]:
        """Begin the span of a request, in the trace that its W3C `headers` name, or a new one.

        Returns the trace, None if it is not sampled, and the headers for those who are asked
        on the way.
        """
        parent = self._propagator.extract(headers) if headers else self._no_parent
        kind = self._api.SpanKind.SERVER
        onwards = self._sampling.unsampled(parent, name, kind, attributes)
        if onwards is not None:
            return None, onwards
        span = self._tracer.start_span(name, parent, kind, dict(attributes))
        onwards = {}
        self._propagator.inject(onwards, self._api.set_span_in_context(span))
        return Trace(self, span), onwards

    def describe(self, trace: Trace, attributes: Attributes, *, failure: str | None = None) -> None:
        """Add what is known at the end of a request; `failure` says that it is the server's."""
        span = _span(trace)
        span.set_attributes(dict(attributes))
        if failure is not None:
            span.set_status(self._api.StatusCode.ERROR, failure)

    def begin_batch(self, requests: Sequence[Trace], attributes: Attributes) -> Trace:
        """Return a trace for what is done for several requests at once, linked to each."""
        links = [self._api.Link(_context(request)) for request in requests]
        span = self._tracer.start_span(
            "batch",
            context=self._api.set_span_in_context(_span(requests[0])),
            links=links,
            attributes=dict(attributes),
        )
        return Trace(self, span)

    def end(self, trace: Trace) -> None:
        """Record the trace with all its steps."""
        parent = self._api.set_span_in_context(_span(trace))
        for step in trace.steps:
            links = [] if step.link is None else [self._api.Link(_context(step.link))]
            child = self._tracer.start_span(
                step.name,
                context=parent,
                links=links,
                attributes=dict(step.attributes),
                start_time=self._at_ns(step.began),
            )
            child.end(self._at_ns(step.ended))
        _span(trace).end()

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()

    def _at_ns(self, perf_s: float) -> int:
        return int(perf_s * 1e9) + self._perf_to_ns


def _span(trace: Trace) -> Span:
    span: Span = trace.span  # type: ignore[assignment]  # made here, and nowhere else
    return span


def _context(trace: Trace) -> SpanContext:
    return _span(trace).get_span_context()
