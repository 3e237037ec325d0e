"""Whether a request is traced, decided before its span; the SDK with exporters in memory."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import TraceState

from tests.fakes.traces import Traces

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Rig(Traces):
    def request(self, **headers: str) -> dict[str, str]:
        """Trace one request and return the headers that go on."""
        trace, onwards = self.tracer.begin("predict", headers, {"rpc.system": "grpc"})
        if trace is not None:
            self.tracer.end(trace)
        return dict(onwards)


class Script(Sampler):
    """Says what a script says, and keeps what it was asked."""

    def __init__(self, *decisions: Decision, state: TraceState | None = None) -> None:
        self._decisions = list(decisions)
        self._state = state
        self.asked: list[tuple[int, str, dict[str, Any]]] = []

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        _, attributes = args
        self.asked.append((trace_id, name, dict(attributes)))
        return SamplingResult(self._decisions.pop(0), {"sampler.rule": "seven"}, self._state)

    def get_description(self) -> str:
        return "Script"


def fields(onwards: dict[str, str]) -> list[str]:
    return onwards["traceparent"].split("-")


def test_a_request_that_is_not_sampled_goes_on_in_a_trace_of_its_own() -> None:
    rig = Rig(TraceIdRatioBased(0))

    first, second = rig.request(), rig.request()

    assert rig.spans == ()
    for onwards in (first, second):
        version, trace, span, flags = fields(onwards)
        assert (version, len(trace), len(span)) == ("00", 32, 16)
        assert int(flags, 16) & 1 == 0
    assert fields(first)[1] != fields(second)[1]


def test_a_request_that_is_sampled_has_the_trace_that_was_decided_about() -> None:
    sampler = Script(Decision.RECORD_AND_SAMPLE)
    rig = Rig(sampler)

    onwards = rig.request()

    ((trace_id, name, attributes),) = sampler.asked  # once
    (span,) = rig.spans
    assert (name, attributes) == ("predict", {"rpc.system": "grpc"})
    assert span.context.trace_id == trace_id
    assert fields(onwards)[1] == f"{trace_id:032x}"
    assert int(fields(onwards)[3], 16) & 1 == 1
    assert span.attributes == {"sampler.rule": "seven"}


def test_every_request_is_decided_about_by_itself() -> None:
    keep, drop = Decision.RECORD_AND_SAMPLE, Decision.DROP
    sampler = Script(drop, keep, drop, keep, keep)
    rig = Rig(sampler)

    for _ in range(5):
        rig.request()

    asked = [trace_id for trace_id, _, _ in sampler.asked]
    assert len(set(asked)) == 5
    assert [span.context.trace_id for span in rig.spans] == [asked[1], asked[3], asked[4]]


@pytest.mark.parametrize(("flags", "is_sampled"), [("01", True), ("00", False)])
def test_a_caller_s_trace_goes_on_as_the_caller_decided(flags: str, is_sampled: bool) -> None:
    rig = Rig(ParentBased(ALWAYS_ON))

    onwards = rig.request(traceparent=f"00-{TRACE}-{PARENT}-{flags}", tracestate="a=1")

    _, trace, span, sent_flags = fields(onwards)
    assert (trace, int(sent_flags, 16) & 1) == (TRACE, int(is_sampled))
    assert span != PARENT
    assert onwards["tracestate"] == "a=1"
    assert [f"{span.parent.span_id:016x}" for span in rig.spans] == [PARENT] * is_sampled


def test_after_a_caller_s_trace_the_next_request_has_a_new_one() -> None:
    rig = Rig(DEFAULT_ON)

    rig.request(traceparent=f"00-{TRACE}-{PARENT}-01")
    rig.request()

    first, second = (span.context.trace_id for span in rig.spans)
    assert first == int(TRACE, 16) != second
    assert rig.spans[1].parent is None


def test_a_malformed_parent_is_as_none() -> None:
    rig = Rig(DEFAULT_ON)

    onwards = rig.request(traceparent="00-xyz-1-01")

    (span,) = rig.spans
    assert span.parent is None
    assert fields(onwards)[1] == f"{span.context.trace_id:032x}"


def test_what_is_recorded_and_not_sampled_is_a_span_all_the_same() -> None:
    rig = Rig(Script(Decision.RECORD_ONLY))

    trace, onwards = rig.tracer.begin("predict", {}, {})

    assert trace is not None
    assert int(fields(dict(onwards))[3], 16) & 1 == 0


def test_a_sampler_may_change_the_trace_state() -> None:
    rig = Rig(Script(Decision.DROP, state=TraceState([("rule", "seven")])))

    assert rig.request()["tracestate"] == "rule=seven"


def test_new_traces_are_dropped_as_often_as_the_ratio_says() -> None:
    for sampler in (TraceIdRatioBased(0.25), ParentBased(TraceIdRatioBased(0.25))):
        rig = Rig(sampler)

        for _ in range(1000):
            if not rig.tracer.drops_new():
                rig.request()

        assert 150 < len(rig.spans) < 350


def test_what_is_not_dropped_is_sampled_and_has_the_trace_that_was_drawn() -> None:
    rig = Rig(TraceIdRatioBased(1e-3))
    while rig.tracer.drops_new():
        pass

    onwards = rig.request()

    (span,) = rig.spans
    assert fields(onwards)[1] == f"{span.context.trace_id:032x}"
    assert span.context.trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < 2**64 * 1e-3


def test_a_sampler_that_goes_by_more_than_the_trace_is_asked() -> None:
    rig = Rig(Script(Decision.DROP))

    assert not rig.tracer.drops_new()
    rig.request()
    assert rig.spans == ()
