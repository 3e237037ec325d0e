"""What answered a call is noted, or what it was pinned to when it failed; and when."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
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
from sigrun.inference.context import CallContext, Door, Outcome
from sigrun.inference.observed import Observed

pytestmark = pytest.mark.asyncio

ANSWERED = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")


class Backend:
    """Answers Predict as `answer` says, if `is_quick` at once; the other calls are not asked."""

    def __init__(self, answer: Callable[[], PredictResult], *, is_quick: bool = True) -> None:
        self._answer = answer
        self._is_quick = is_quick

    async def predict(self, call: PredictCall) -> PredictResult:
        return self._answer()

    def predict_inline(self, call: PredictCall) -> PredictResult | None:
        return self._answer() if self._is_quick else None

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


def call(outcome: Outcome | None) -> PredictCall:
    context = CallContext(Door.GRPC, outcome=outcome)
    return PredictCall(spec=ModelSpec(name="guess"), inputs=Arrays({}), context=context)


def observed(answer: Callable[[], PredictResult]) -> Observed:
    """Return an `Observed` whose clock goes on by 5 ms each time it is looked at."""
    ticks = itertools.count(1)
    return Observed(Backend(answer), clock=lambda: next(ticks) * 0.005)


async def test_what_answered_is_noted_and_when() -> None:
    outcome = Outcome()

    await observed(answering).predict(call(outcome))

    assert outcome.target == ANSWERED
    assert (outcome.inference_began, outcome.inference_ended) == (0.005, 0.01)


async def test_a_call_that_fails_is_noted_for_the_version_it_was_pinned_to() -> None:
    error = Internal("the model is broken")
    error.servable = ("mnist", 3)
    outcome = Outcome()

    with pytest.raises(Internal):
        await observed(failing(error)).predict(call(outcome))

    assert outcome.target == ResolvedSpec("mnist", 3)
    assert outcome.inference_ended == 0.01


async def test_a_call_that_is_answered_at_once_is_noted_as_any_other() -> None:
    outcome = Outcome()

    result = observed(answering).predict_inline(call(outcome))

    assert result is not None
    assert outcome.target == ANSWERED
    assert (outcome.inference_began, outcome.inference_ended) == (0.005, 0.01)


async def test_a_call_that_fails_at_once_is_noted_as_any_other() -> None:
    error = Internal("the model is broken")
    error.servable = ("mnist", 3)
    outcome = Outcome()

    with pytest.raises(Internal):
        observed(failing(error)).predict_inline(call(outcome))

    assert outcome.target == ResolvedSpec("mnist", 3)
    assert outcome.inference_ended == 0.01


async def test_a_call_that_is_not_answered_at_once_has_no_target_yet() -> None:
    outcome = Outcome()

    assert Observed(Backend(answering, is_quick=False)).predict_inline(call(outcome)) is None
    assert outcome.target is None


@pytest.mark.parametrize("error", [NotFound("no such model"), RuntimeError("bug")], ids=repr)
async def test_what_found_no_version_is_noted_for_none(error: Exception) -> None:
    outcome = Outcome()

    with pytest.raises((SigrunError, RuntimeError)):
        await observed(failing(error)).predict(call(outcome))

    assert outcome.target is None


async def test_a_call_that_nobody_looks_at_is_answered_as_well() -> None:
    assert (await observed(answering).predict(call(None))).spec == ANSWERED


async def test_a_multi_inference_is_noted_for_its_model_and_its_examples() -> None:
    outcome = Outcome()
    context = CallContext(Door.GRPC, outcome=outcome)

    await observed(answering).multi_inference(
        MultiInferenceCall(tasks=[], examples=np.array([b"a", b"b"], dtype=object), context=context)
    )

    assert outcome.target == ResolvedSpec("mnist", 3)
    assert outcome.examples == 2
