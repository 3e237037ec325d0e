"""Calls are counted for what answered them, or for what they were pinned to when they failed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from sigrun.errors import Internal, NotFound, SigrunError
from sigrun.inference.calls import (
    Arrays,
    ClassifyResult,
    ExamplesCall,
    MetadataCall,
    MetadataResult,
    ModelSpec,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.context import CallContext, Door
from sigrun.inference.observed import Observed
from sigrun.telemetry.metrics import Counter, Distribution, Reading, Untyped

pytestmark = pytest.mark.asyncio

ANSWERED = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")


class Backend:
    """Answers Predict as `answer` says; the other calls are not asked here."""

    def __init__(self, answer: Callable[[], PredictResult]) -> None:
        self._answer = answer

    async def predict(self, call: PredictCall) -> PredictResult:
        return self._answer()

    async def classify(self, call: ExamplesCall) -> ClassifyResult:
        raise NotImplementedError

    async def regress(self, call: ExamplesCall) -> RegressResult:
        raise NotImplementedError

    async def multi_inference(self, call: MultiInferenceCall) -> MultiInferenceResult:
        return [PredictResult(spec=ANSWERED, outputs={})]  # type: ignore[list-item]

    async def metadata(self, call: MetadataCall) -> MetadataResult:
        raise NotImplementedError


def answering() -> PredictResult:
    return PredictResult(spec=ANSWERED, outputs={})


def failing(error: BaseException) -> Callable[[], PredictResult]:
    def fail() -> PredictResult:
        raise error

    return fail


def call(door: Door = Door.GRPC) -> PredictCall:
    return PredictCall(spec=ModelSpec(name="guess"), inputs=Arrays({}), context=CallContext(door))


def observed(answer: Callable[[], PredictResult]) -> Observed:
    """Return an `Observed` whose clock goes on by 5 ms each time it is looked at."""
    ticks = itertools.count()
    return Observed(Backend(answer), clock=lambda: next(ticks) * 0.005)


def named(observed: Observed, name: str) -> list[Reading]:
    return [reading for reading in observed.readings() if reading.name == name]


async def test_a_call_is_counted_for_the_version_and_signature_that_answered() -> None:
    calls = observed(answering)

    await calls.predict(call())
    await calls.predict(call())

    (counter,) = named(calls, "sigrun_requests")
    assert isinstance(counter, Counter)
    assert counter.value == 2
    assert counter.labels == {
        "model": "mnist",
        "version": "3",
        "signature": "serving_default",
        "method": "Predict",
        "door": "grpc",
        "code": "OK",
    }


async def test_a_call_that_fails_is_counted_for_the_version_it_was_pinned_to() -> None:
    error = Internal("the model is broken")
    error.servable = ("mnist", 3)
    calls = observed(failing(error))

    with pytest.raises(Internal):
        await calls.predict(call())

    (counter,) = named(calls, "sigrun_requests")
    assert (counter.labels["model"], counter.labels["version"]) == ("mnist", "3")
    assert counter.labels["code"] == "INTERNAL"


async def test_a_name_that_leads_to_no_model_is_no_label() -> None:
    calls = observed(failing(NotFound("no such model")))

    for _ in range(2):
        with pytest.raises(SigrunError):
            await calls.predict(call())

    (counter,) = named(calls, "sigrun_requests")
    assert isinstance(counter, Counter)
    assert (counter.labels["model"], counter.labels["code"], counter.value) == ("", "NOT_FOUND", 2)


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("bug"), "INTERNAL"), (asyncio.CancelledError(), "CANCELLED")],
    ids=["bug", "cancelled"],
)
async def test_whatever_ends_a_call_is_counted(error: BaseException, code: str) -> None:
    calls = observed(failing(error))

    with pytest.raises(type(error)):
        await calls.predict(call())

    (counter,) = named(calls, "sigrun_requests")
    assert counter.labels["code"] == code


async def test_calls_that_succeed_are_timed() -> None:
    calls = observed(answering)

    await calls.predict(call())

    (timed,) = named(calls, "sigrun_request_duration_seconds")
    assert isinstance(timed, Distribution)
    assert timed.value.count == 1
    assert timed.value.sum == pytest.approx(0.005)
    bucket = timed.value.counts.index(1)
    assert timed.value.bounds[bucket - 1] < 0.005 <= timed.value.bounds[bucket]


async def test_tensorflow_servings_metrics_sum_over_versions_and_signatures() -> None:
    specs = iter(
        ResolvedSpec(name="mnist", version=version, signature_name=name)
        for version, name in ((1, "a"), (2, "a"), (2, "b"))
    )
    calls = observed(lambda: PredictResult(spec=next(specs), outputs={}))

    for door in (Door.GRPC, Door.REST, Door.GRPC):
        await calls.predict(call(door))

    (count,) = named(calls, ":tensorflow:serving:request_count")
    assert isinstance(count, Untyped)
    assert (count.value, count.labels) == (3, {"model_name": "mnist", "status": "OK"})
    latencies = named(calls, ":tensorflow:serving:request_latency")
    assert [reading.labels for reading in latencies] == [
        {"model_name": "mnist", "API": "Predict", "entrypoint": "GRPC"},
        {"model_name": "mnist", "API": "predict", "entrypoint": "REST"},
    ]
    (grpc, rest) = (reading.value for reading in latencies if isinstance(reading, Distribution))
    assert grpc.count == 2
    assert grpc.sum == pytest.approx(10_000)
    assert (rest.count, rest.bounds[0], len(rest.bounds)) == (1, 10.0, 33)


async def test_a_multi_inference_is_counted_once_for_its_model() -> None:
    calls = observed(answering)

    await calls.multi_inference(
        MultiInferenceCall(tasks=[], examples=None, context=CallContext(Door.GRPC))  # type: ignore[arg-type]
    )

    (counter,) = named(calls, "sigrun_requests")
    assert (counter.labels["method"], counter.labels["signature"]) == ("MultiInference", "")
