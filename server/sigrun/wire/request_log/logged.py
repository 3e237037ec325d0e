"""An `Inference` around another one that logs a share of what succeeds, as each model says.

In: the models in force. Out: entries for the writer. A model without request logging costs its
requests one look into a dict.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from sigrun.concurrency.pace import Pace
from sigrun.config.models import ModelSet
from sigrun.config.request_log import RequestLogging
from sigrun.inference.backend import Inference
from sigrun.inference.calls import (
    Arrays,
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
    Unbound,
)
from sigrun.tensors.signature import Array, Signature
from sigrun.wire.request_log.records import Entry, LoggedCall, LoggedResult

C = TypeVar("C", PredictCall, ExamplesCall, MultiInferenceCall)
R = TypeVar("R", PredictResult, ClassifyResult, RegressResult, MultiInferenceResult)

Put = Callable[[Entry, RequestLogging], None]


class Logged:
    """Hands a share of the requests that `inference` answers to `put`.

    `random` returns numbers from 0 up to, and without, 1.
    """

    def __init__(
        self, inference: Inference, put: Put, random: Callable[[], float] = random.random
    ) -> None:
        self._inference = inference
        self._put = put
        self._random = random
        self._models: Mapping[str, RequestLogging] = {}

    def follow(self, models: ModelSet) -> None:
        """Log from now on what these models say."""
        self._models = {
            model.name: model.logging
            for model in models
            if model.logging is not None and model.logging.sampling_rate
        }

    def predict(self, call: PredictCall) -> Coroutine[Any, Any, PredictResult]:
        """Run a signature on tensors."""
        if (logging := self._sampled(call.spec.name)) is None:
            return self._inference.predict(call)
        return self._predict(call, logging)

    def predict_inline(self, call: PredictCall) -> PredictResult | None:
        """Run a signature on tensors, if that is short and the model's requests are not logged."""
        if call.spec.name in self._models:
            return None  # `predict` draws the sample, once for each request
        return self._inference.predict_inline(call)

    def classify(self, call: ExamplesCall) -> Coroutine[Any, Any, ClassifyResult]:
        """Return the classes of each example."""
        if (logging := self._sampled(call.spec.name)) is None:
            return self._inference.classify(call)
        return self._logged(self._inference.classify, call, logging, _target)

    def regress(self, call: ExamplesCall) -> Coroutine[Any, Any, RegressResult]:
        """Return one value for each example."""
        if (logging := self._sampled(call.spec.name)) is None:
            return self._inference.regress(call)
        return self._logged(self._inference.regress, call, logging, _target)

    def multi_inference(
        self, call: MultiInferenceCall
    ) -> Coroutine[Any, Any, MultiInferenceResult]:
        """Run several signatures of one model on the same examples, as one run."""
        name = call.tasks[0].spec.name if call.tasks else ""
        if (logging := self._sampled(name)) is None:
            return self._inference.multi_inference(call)
        return self._logged(self._inference.multi_inference, call, logging, _first)

    def metadata(self, call: MetadataCall) -> Coroutine[Any, Any, MetadataResult]:
        """Return the signatures of a model; no log has a place for that."""
        return self._inference.metadata(call)

    def _sampled(self, name: str) -> RequestLogging | None:
        """Return how a request for this model is logged, None if it is not."""
        logging = self._models.get(name)
        if logging is None or self._random() >= logging.sampling_rate:
            return None
        return logging

    async def _predict(self, call: PredictCall, logging: RequestLogging) -> PredictResult:
        if isinstance(call.inputs, Arrays):
            return await self._logged(self._inference.predict, call, logging, _target)
        kept = _Kept(call.inputs)
        result = await self._inference.predict(call._replace(inputs=kept))
        bound = call._replace(inputs=Arrays(kept.arrays))
        self._note(bound, result, result.spec, logging)
        return result

    async def _logged(
        self,
        answer: Callable[[C], Awaitable[R]],
        call: C,
        logging: RequestLogging,
        target_of: Callable[[R], ResolvedSpec],
    ) -> R:
        result = await answer(call)
        self._note(call, result, target_of(result), logging)
        return result

    def _note(
        self, call: LoggedCall, result: LoggedResult, target: ResolvedSpec, logging: RequestLogging
    ) -> None:
        entry = Entry(call=call, result=result, target=target, answered_at=time.time())
        self._put(entry, logging)


def _target(result: PredictResult | ClassifyResult | RegressResult) -> ResolvedSpec:
    return result.spec


def _first(results: MultiInferenceResult) -> ResolvedSpec:
    """Return what the first task ran; there is one, or the call had failed."""
    return results[0].spec


class _Kept:
    """Inputs that remember which arrays they became."""

    def __init__(self, inputs: Unbound) -> None:
        self._inputs = inputs
        self.cost_s = inputs.cost_s
        self.arrays: Mapping[str, Array] = {}

    def bind(self, signature: Signature, pace: Pace) -> Mapping[str, Array]:
        """Return the arrays by alias; see `Unbound`."""
        self.arrays = self._inputs.bind(signature, pace)
        return self.arrays
