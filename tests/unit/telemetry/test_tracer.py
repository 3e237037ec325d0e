"""Spans as an exporter gets them; the SDK with an exporter in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from sigrun.telemetry.spans import Spans
from sigrun.telemetry.steps import Trace
from sigrun.telemetry.tracer import Tracer
from tests.fakes.traces import Traces

MILLISECOND_NS = 1_000_000


class Rig(Traces):
    def begin(self, **attributes: str) -> Trace:
        trace, _ = self.tracer.begin("predict", {}, attributes)
        assert trace is not None
        return trace


def test_a_step_is_a_span_in_that_of_its_request() -> None:
    rig = Rig()
    trace = rig.begin()

    trace.step("run", 1.0, 1.5, {"rows": 3})
    rig.tracer.end(trace)

    run, whole = rig.spans
    assert (run.name, run.kind, run.attributes) == ("run", SpanKind.INTERNAL, {"rows": 3})
    assert (whole.name, whole.kind, whole.parent) == ("predict", SpanKind.SERVER, None)
    assert run.parent == whole.context
    assert run.context.trace_id == whole.context.trace_id
    assert run.context.span_id != whole.context.span_id
    assert run.end_time - run.start_time == 500 * MILLISECOND_NS
    assert hash(run.resource) == hash(whole.resource)
    assert run.resource.attributes == {"service.name": "test"}
    assert run.instrumentation_scope.name == "sigrun"


def test_a_batch_is_linked_to_its_requests_and_in_the_trace_of_the_first() -> None:
    rig = Rig()
    first, second = rig.begin(), rig.begin()

    batch = rig.tracer.begin_batch([first, second], {"rows": 2})
    rig.tracer.end(batch)
    second.step("run", 1.0, 2.0, link=batch)
    for trace in (first, second):
        rig.tracer.end(trace)

    of_batch, of_first, run, of_second = rig.spans
    assert [link.context for link in of_batch.links] == [of_first.context, of_second.context]
    assert of_batch.parent == of_first.context
    assert [link.context for link in run.links] == [of_batch.context]


def test_what_is_known_at_the_end_is_beside_what_was_known_before() -> None:
    rig = Rig()
    trace = rig.begin(door="grpc", method="x")

    rig.tracer.describe(trace, {"code": 13, "method": "y"}, failure="INTERNAL")
    rig.tracer.end(trace)

    (span,) = rig.spans
    assert span.attributes == {"door": "grpc", "method": "y", "code": 13}
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "INTERNAL")


def test_a_clock_that_is_set_shifts_no_span_of_a_trace_against_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    trace = rig.begin()
    began = time.perf_counter()
    monkeypatch.setattr(time, "time_ns", lambda: 0)

    trace.step("run", began, time.perf_counter())
    rig.tracer.end(trace)

    run, whole = rig.spans
    assert whole.start_time <= run.start_time <= run.end_time <= whole.end_time


def test_limits_of_the_environment_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "1")
    rig = Rig()
    requests = [rig.begin(a="12345", b="1", c="2") for _ in range(3)]

    rig.tracer.end(rig.tracer.begin_batch(requests, {}))
    rig.tracer.end(requests[0])

    batch, request = rig.spans
    assert (len(batch.links), batch.dropped_links) == (1, 2)
    assert (len(request.attributes), request.dropped_attributes) == (2, 1)
    assert "12345" not in request.attributes.values()


def test_what_a_sampler_adds_is_kept_and_what_it_only_records_is_not_sent() -> None:
    class Adds(Sampler):
        decision = Decision.RECORD_AND_SAMPLE

        def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
            return SamplingResult(self.decision, {"rule": "seven"})

        def get_description(self) -> str:
            return "Adds"

    sampler = Adds()
    rig = Rig(sampler)
    rig.tracer.end(rig.begin())
    sampler.decision = Decision.RECORD_ONLY
    rig.tracer.end(rig.begin())

    (span,) = rig.spans
    assert span.attributes == {"rule": "seven"}


def test_no_export_is_larger_than_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    sizes: list[int] = []

    class Counts(SpanExporter):
        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            sizes.append(len(spans))
            return SpanExportResult.SUCCESS

    tracer = Tracer(DEFAULT_ON, Spans(BatchSpanProcessor(Counts()), Resource({})))
    for steps in (4, 3):
        trace, _ = tracer.begin("predict", {}, {})
        assert trace is not None
        for _ in range(steps):
            trace.step("run", 1.0, 2.0)
        tracer.end(trace)
    tracer.close()

    assert max(sizes) == 2
    assert sum(sizes) == 9


def test_what_is_noted_after_the_end_is_lost() -> None:
    rig = Rig()
    trace = rig.begin()
    rig.tracer.end(trace)

    trace.step("run", 1.0, 2.0)

    assert [span.name for span in rig.spans] == ["predict"]
