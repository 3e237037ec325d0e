"""Whether requests are traced, and where the spans go: a `Tracer` if the environment asks for one.

Everything is set as OpenTelemetry says, by variables of the environment: `OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_ENDPOINT` and so on. Tracing is on when one of those that
say where spans go is set. It needs the extra `sigrun[otel]`, which is imported only then.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sigrun import __version__
from sigrun.errors import InvalidArgument

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from sigrun.telemetry.spans import Spans
    from sigrun.telemetry.tracer import Tracer

logger = logging.getLogger(__name__)

_SWITCHES = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
_OTLP, _CONSOLE = "otlp", "console"
_PROTOCOLS = ("grpc", "http/protobuf")


def tracer_from_environment(
    environment: Mapping[str, str] = os.environ, *, service: str
) -> Tracer | None:
    """Return a tracer if the environment asks for one; `service` is its name if none is given.

    Without the extra it is said in the log that there is none. Raises `InvalidArgument` for an
    exporter or a protocol that is not known.
    """
    exporter = _exporter_name(environment)
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or exporter == "none" or not any(environment.get(name) for name in _SWITCHES):
        return None
    try:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        from sigrun.telemetry.trace_process import TraceProcess  # noqa: PLC0415
        from sigrun.telemetry.tracer import Tracer  # noqa: PLC0415
    except ImportError:
        logger.warning(
            "The environment asks for traces (OTEL_...), and there are none without "
            "OpenTelemetry: pip install 'sigrun[otel]'"
        )
        return None
    _check(exporter, _protocol(environment))
    # It reads OTEL_TRACES_SAMPLER, and would look for what it runs on without a resource.
    provider = TracerProvider(resource=Resource.get_empty(), shutdown_on_exit=False)
    sink = spans_from_environment(environment, service=service) if exporter == _CONSOLE else None
    tracer = Tracer(provider.sampler, sink or TraceProcess(service))
    logger.info("tracing is on, to %s", exporter)
    return tracer


def spans_from_environment(environment: Mapping[str, str] = os.environ, *, service: str) -> Spans:
    """Return what sends spans where the environment says; `service` is their name if none is given.

    Raises what OpenTelemetry does for values that it cannot read.
    """
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    from sigrun.telemetry.spans import Spans  # noqa: PLC0415

    resource = Resource.create({"service.version": __version__})
    if not environment.get("OTEL_SERVICE_NAME") and "service.name" not in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        resource = resource.merge(Resource({"service.name": service}))
    exporter = _exporter(_exporter_name(environment), _protocol(environment))
    return Spans(BatchSpanProcessor(exporter), resource)


def _exporter_name(environment: Mapping[str, str]) -> str:
    return environment.get("OTEL_TRACES_EXPORTER", _OTLP).strip() or _OTLP


def _protocol(environment: Mapping[str, str]) -> str:
    return environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
    )


def _check(exporter: str, protocol: str) -> None:
    if exporter not in (_OTLP, _CONSOLE):
        raise InvalidArgument(f"OTEL_TRACES_EXPORTER is otlp, console or none, not {exporter!r}")
    if exporter == _OTLP and protocol not in _PROTOCOLS:
        raise InvalidArgument(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {' or '.join(_PROTOCOLS)}, not {protocol!r}"
        )


def _exporter(name: str, protocol: str) -> SpanExporter:
    if name == _CONSOLE:
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter(out=sys.stdout)
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter as HttpExporter,
    )

    return HttpExporter()
