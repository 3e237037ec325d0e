"""What is asked and what is answered, as values: the same for gRPC, JSON and the rest.

A call can be logged, replayed, mirrored or sent on: nothing in it calls back into a transport.
What every Predict makes is a NamedTuple: it is as frozen as a dataclass, and made, compared and
hashed several times faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sigrun.concurrency.pace import Pace
from sigrun.inference.context import CallContext
from sigrun.tensors.signature import Array, Signature

DEFAULT_SIGNATURE = "serving_default"
METADATA_FIELD = "signature_def"
"""The kind of metadata that there is: TensorFlow Serving's `signature_def`."""


class ModelSpec(NamedTuple):
    """How a request names its target; at most one of `version` and `label` is set."""

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""


class ResolvedSpec(NamedTuple):
    """What answered: the version a label or "latest" came to, the default filled in."""

    name: str
    version: int
    signature_name: str = ""


class Arrays(NamedTuple):
    """Inputs that are arrays already, by alias."""

    by_alias: Mapping[str, Array]


class Unbound(Protocol):
    """Inputs that become arrays once the signature is known: JSON has no dtypes of its own.

    They are values all the same: binding does not change them.
    """

    @property
    def cost_s(self) -> float:
        """The time that `bind` is expected to take."""

    def bind(self, signature: Signature, pace: Pace) -> Mapping[str, Array]:
        """Return the arrays by alias. Raises `InvalidArgument` for what does not fit."""


Inputs = Arrays | Unbound


class PredictCall(NamedTuple):
    """Run a signature on tensors. An empty `output_filter` asks for every output."""

    spec: ModelSpec
    inputs: Inputs
    context: CallContext
    output_filter: Sequence[str] = ()


class PredictResult(NamedTuple):
    """The outputs that were asked for, by alias."""

    spec: ResolvedSpec
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesCall:
    """Classify or regress: `examples` is a vector of serialized `tf.Example` bytes."""

    spec: ModelSpec
    examples: Array
    context: CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifications:
    """`labels` (object array of bytes) and `scores` (float32), each [examples, classes].

    At least one of them is there.
    """

    labels: Array | None
    scores: Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyResult:
    """The classes of each example, in the model's order."""

    spec: ResolvedSpec
    classifications: Classifications


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressResult:
    """One float32 per example."""

    spec: ResolvedSpec
    values: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceTask:
    """One part of a multi-inference: a signature and what it is to be used for."""

    spec: ModelSpec
    method_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiInferenceCall:
    """Several signatures of one model on the same examples, run as one."""

    tasks: Sequence[InferenceTask]
    examples: Array
    context: CallContext


MultiInferenceResult = Sequence[ClassifyResult | RegressResult]
"""One result per task, in the order of the tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataCall:
    """Ask for the signatures of a model; `fields` says which kinds of metadata."""

    spec: ModelSpec
    fields: Sequence[str]
    context: CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResult:
    """Every signature of the model that answered."""

    spec: ResolvedSpec
    signatures: Mapping[str, Signature]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCall:
    """Ask for the states of a model's versions; a label in `spec` does not narrow them."""

    spec: ModelSpec
    context: CallContext
