"""Note on each call what answered it and when, for those who look on from outside.

`Observed` has the face of the `Inference` that it holds, and goes around it once, whatever the
door. Metrics, the access log and traces read what it notes; see `context.Outcome`.

What is noted are values that a server has given, never what a caller made up: as a label, a name
that leads to no model would be a new time series for each request that guesses one. So a failed
call is noted for the version that it was pinned to, and one that found none for no model at all.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from sigrun.errors import SigrunError
from sigrun.inference.backend import Inference
from sigrun.inference.calls import (
    ClassifyResult,
    ExamplesCall,
    MetadataCall,
    MetadataResult,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.context import CallContext


class _Call(Protocol):
    @property
    def context(self) -> CallContext: ...


C = TypeVar("C", bound=_Call)
R = TypeVar("R")


class Observed:
    """An `Inference` around another one.

    Its methods are not coroutines themselves but return one: a frame less for every call.
    """

    def __init__(
        self, inference: Inference, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._inference = inference
        self._clock = clock

    def predict(self, call: PredictCall) -> Coroutine[Any, Any, PredictResult]:
        """Run a signature on tensors."""
        return self._observe(self._inference.predict, call, _target)

    def predict_inline(self, call: PredictCall) -> PredictResult | None:
        """Run a signature on tensors, if that is short."""
        outcome = call.context.outcome
        if outcome is None:
            return self._inference.predict_inline(call)
        outcome.inference_began = self._clock()
        try:
            result = self._inference.predict_inline(call)
        except SigrunError as error:
            if error.servable is not None:
                outcome.target = ResolvedSpec(*error.servable)
            raise
        finally:
            outcome.inference_ended = self._clock()
        if result is not None:
            outcome.target = result.spec
        return result

    def classify(self, call: ExamplesCall) -> Coroutine[Any, Any, ClassifyResult]:
        """Return the classes of each example."""
        _note_examples(call)
        return self._observe(self._inference.classify, call, _target)

    def regress(self, call: ExamplesCall) -> Coroutine[Any, Any, RegressResult]:
        """Return one value for each example."""
        _note_examples(call)
        return self._observe(self._inference.regress, call, _target)

    def multi_inference(
        self, call: MultiInferenceCall
    ) -> Coroutine[Any, Any, MultiInferenceResult]:
        """Run several signatures of one model on the same examples, as one run."""
        _note_examples(call)
        return self._observe(self._inference.multi_inference, call, _common_target)

    def metadata(self, call: MetadataCall) -> Coroutine[Any, Any, MetadataResult]:
        """Return the signatures of a model."""
        return self._observe(self._inference.metadata, call, _target)

    async def _observe(
        self,
        answer: Callable[[C], Awaitable[R]],
        call: C,
        target_of: Callable[[R], ResolvedSpec | None],
    ) -> R:
        outcome = call.context.outcome
        if outcome is None:
            return await answer(call)
        outcome.inference_began = self._clock()
        try:
            result = await answer(call)
        except SigrunError as error:
            if error.servable is not None:
                outcome.target = ResolvedSpec(*error.servable)
            raise
        finally:
            outcome.inference_ended = self._clock()
        outcome.target = target_of(result)
        return result


def _note_examples(call: ExamplesCall | MultiInferenceCall) -> None:
    if call.context.outcome is not None:
        call.context.outcome.examples = len(call.examples)


class _Resolved(Protocol):
    @property
    def spec(self) -> ResolvedSpec: ...


def _target(result: _Resolved) -> ResolvedSpec:
    return result.spec


def _common_target(results: MultiInferenceResult) -> ResolvedSpec | None:
    """Return model and version of all tasks; their signatures differ."""
    if not results:
        return None
    first = results[0].spec
    return ResolvedSpec(name=first.name, version=first.version)
