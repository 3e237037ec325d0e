"""Requests are counted for what answered them, or for what they were pinned to when they failed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from sigrun.errors import NotFound, SigrunError
from sigrun.inference.calls import ResolvedSpec
from sigrun.inference.context import CallContext, Door, Outcome
from sigrun.telemetry.metrics import Counter, Distribution, Reading, Untyped
from sigrun.wire.interceptors import intercepted
from sigrun.wire.observing import Observing
from sigrun.wire.request_metrics import MAX_VERSIONS, RequestMetrics

pytestmark = pytest.mark.asyncio

RPC = "tensorflow.serving.PredictionService/Predict"
ANSWERED = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")


class Server:
    """Answers with twice what it was sent, as what `target` says; the clock ticks by 5 ms."""

    def __init__(self) -> None:
        ticks = itertools.count()
        self.metrics = RequestMetrics()
        self._observing = Observing([self.metrics], clock=lambda: next(ticks) * 0.005)
        self.target: ResolvedSpec | None = ANSWERED
        self.examples = 0
        self.error: SigrunError | None = None

    async def ask(self, method: str = RPC, door: Door = Door.GRPC) -> None:
        context = CallContext(door, outcome=Outcome())
        await intercepted(method, self._answer, [self._observing])(b"abc", context)

    async def _answer(self, request: bytes, context: CallContext) -> bytes:
        assert context.outcome is not None
        context.outcome.target = self.target
        context.outcome.examples = self.examples
        if self.error is not None:
            raise self.error
        return request * 2

    def named(self, name: str) -> Sequence[Reading]:
        return [reading for reading in self.metrics.readings() if reading.name == name]

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(reading.labels.values()): reading.value
            for reading in self.named(name)
            if isinstance(reading, Counter | Untyped)
        }


async def test_requests_are_counted_timed_and_weighed() -> None:
    server = Server()

    await server.ask()
    await server.ask()

    labels = ("mnist", "3", "serving_default", "Predict", "grpc", "OK")
    assert server.values("sigrun_requests") == {labels: 2}
    assert server.values("sigrun_request_bytes") == {labels: 6}
    assert server.values("sigrun_response_bytes") == {labels: 12}
    (timed,) = server.named("sigrun_request_duration_seconds")
    assert isinstance(timed, Distribution)
    assert timed.value.count == 2
    assert timed.value.sum == pytest.approx(0.01)


async def test_a_request_that_leads_to_no_model_has_no_model_for_a_label() -> None:
    server = Server()
    server.target, server.error = None, NotFound("no such model")

    with pytest.raises(NotFound):
        await server.ask()

    labels = ("", "", "", "Predict", "grpc", "NOT_FOUND")
    assert server.values("sigrun_requests") == {labels: 1}
    assert server.values("sigrun_response_bytes") == {labels: 0}


async def test_a_method_has_one_name_on_every_door() -> None:
    server = Server()

    await server.ask(RPC, Door.CONNECT)
    await server.ask("/v1/models:predict", Door.REST)

    assert {key[3:5] for key in server.values("sigrun_requests")} == {
        ("Predict", "connect"),
        ("Predict", "rest"),
    }


async def test_tensorflow_servings_metrics_sum_over_versions_and_signatures() -> None:
    server = Server()
    for version, signature, door in ((1, "a", Door.GRPC), (2, "a", Door.REST), (2, "b", Door.GRPC)):
        server.target = ResolvedSpec("mnist", version, signature)
        await server.ask("/v1/models:predict" if door is Door.REST else RPC, door)
    await server.ask("tensorflow.serving.PredictionService/GetModelMetadata")  # not counted there
    await server.ask("/v1/models:metadata", Door.REST)

    assert server.values(":tensorflow:serving:request_count") == {("mnist", "OK"): 4}
    latencies = server.named(":tensorflow:serving:request_latency")
    assert [tuple(reading.labels.values()) for reading in latencies] == [
        ("mnist", "Predict", "GRPC"),
        ("mnist", "predict", "REST"),
        ("mnist", "", "REST"),
    ]
    grpc = latencies[0]
    assert isinstance(grpc, Distribution)
    assert grpc.value.count == 2
    assert grpc.value.sum == pytest.approx(10_000)
    assert (grpc.value.bounds[0], len(grpc.value.bounds)) == (10.0, 33)


async def test_examples_are_counted_as_tensorflow_serving_does() -> None:
    server = Server()
    for server.examples in (3, 1):
        await server.ask("tensorflow.serving.PredictionService/Classify")

    (counts,) = server.named(":tensorflow:serving:request_example_counts")
    assert isinstance(counts, Distribution)
    assert (counts.value.count, counts.value.sum) == (2, 4)
    assert server.values(":tensorflow:serving:request_example_count_total") == {("mnist",): 4}


async def test_old_versions_leave_and_stay_in_the_sums() -> None:
    server = Server()
    for version in range(1, MAX_VERSIONS + 3):
        server.target = ResolvedSpec("mnist", version)
        await server.ask()

    versions = [int(key[1]) for key in server.values("sigrun_requests")]
    assert versions == list(range(3, MAX_VERSIONS + 3))
    counted = server.values(":tensorflow:serving:request_count")
    assert counted == {("mnist", "OK"): MAX_VERSIONS + 2}
