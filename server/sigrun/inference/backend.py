"""What the doors stand in front of: the models of this process, or of servers upstream.

`InferenceService` and `ModelManagement` are the one, `wire.upstream` is the other; a door does
not know which of the two it talks to, nor what is wrapped around it. Every method raises
a `SigrunError` whose code and text go to the caller as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sigrun.config.models import ModelConfig, ModelSet
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
    StatusCall,
)
from sigrun.inference.context import CallContext
from sigrun.inference.management import ManagedModel
from sigrun.servables.state import ServableState


class Inference(Protocol):
    """Answers calls to models."""

    async def predict(self, call: PredictCall) -> PredictResult:
        """Run a signature on tensors."""

    def predict_inline(self, call: PredictCall) -> PredictResult | None:
        """Do what `predict` does, at once; return None where that may take long: `predict` then.

        It spares the many requests of a quick model their coroutines. None is always right.
        """

    async def classify(self, call: ExamplesCall) -> ClassifyResult:
        """Return the classes of each example."""

    async def regress(self, call: ExamplesCall) -> RegressResult:
        """Return one value for each example."""

    async def multi_inference(self, call: MultiInferenceCall) -> MultiInferenceResult:
        """Run several signatures of one model on the same examples, as one run."""

    async def metadata(self, call: MetadataCall) -> MetadataResult:
        """Return the signatures of a model."""


class Management(Protocol):
    """Says which models there are, and how they are."""

    async def status(self, call: StatusCall) -> Mapping[int, ServableState]:
        """Return the state of every version, or of the one that is named, highest first.

        Raises `NotFound` for a model or version never heard of.
        """

    async def models(self, context: CallContext) -> Mapping[str, Mapping[int, ServableState]]:
        """Return the states of the versions of every model, by name.

        Raises `Unimplemented` where a server upstream cannot list its models.
        """

    async def blockers(self) -> Sequence[str]:
        """Return what keeps traffic from being sent here, empty if nothing does."""

    async def troubles(self) -> Sequence[str]:
        """Return what is wrong with versions that are served, empty if nothing is known."""


class Administration(Management, Protocol):
    """Says, too, which models there are to be."""

    async def reload(self, wanted: ModelSet, deadline: float | None = None) -> None:
        """Serve `wanted` instead of the current set; see `ServedModels.reload`."""

    async def listing(self, context: CallContext) -> Sequence[ManagedModel]:
        """Return every model known, in the order of their names."""

    async def load(self, model: ModelConfig, context: CallContext) -> ManagedModel:
        """Serve `model`, in the place of the one of its name; see `ServedModels.change`."""

    async def unload(self, name: str, context: CallContext) -> None:
        """Serve a model no longer. Raises `NotFound` for one that there is not."""

    async def load_again(self, name: str, context: CallContext) -> ManagedModel:
        """Load the versions of a model again; see `ServedModels.load_again`."""

    async def set_labels(
        self,
        name: str,
        labels: Mapping[str, int],
        removed: Collection[str],
        context: CallContext,
    ) -> ManagedModel:
        """Add and move `labels` of a model, and take the `removed` ones away."""

    async def close(self) -> None:
        """Give up reloads that are under way; the set in force before them stays."""
