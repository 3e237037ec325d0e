from __future__ import annotations

import pytest

from sigrun.errors import InvalidArgument
from sigrun.telemetry.tracing import tracer_from_environment


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"},
    ],
    ids=["nothing", "a name", "no exporter", "off"],
)
def test_tracing_is_off_unless_the_environment_says_where_to(environment: dict[str, str]) -> None:
    assert tracer_from_environment(environment, service="sigrun") is None


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, "otlp, console or none, not 'jaeger'"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            },
            "grpc or http/protobuf, not 'http/json'",
        ),
    ],
)
def test_an_exporter_that_is_not_known_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        tracer_from_environment(environment, service="sigrun")
