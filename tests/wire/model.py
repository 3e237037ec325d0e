"""The model that is served here: one fake servable with a signature of every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sigrun.tensors.signature import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    Array,
    DType,
    Signature,
)
from tests.fakes.servables import FakeServable, signature

PREDICT = signature({"x": DType.FLOAT}, {"y": DType.FLOAT})
CLASSIFY = signature(
    {"inputs": DType.STRING},
    {"classes": DType.STRING, "scores": DType.FLOAT},
    name="classify",
    method_name=CLASSIFY_METHOD,
)
REGRESS = signature(
    {"inputs": DType.STRING}, {"outputs": DType.FLOAT}, name="regress", method_name=REGRESS_METHOD
)
TWO = signature(
    {"a": DType.FLOAT, "b": DType.FLOAT}, {"sum": DType.FLOAT, "product": DType.FLOAT}, name="two"
)
OPTIONAL = signature(
    {"a": DType.FLOAT, "b": DType.FLOAT},
    {"sum": DType.FLOAT},
    name="optional",
    defaults={"b": np.full(1, 10, np.float32)},
)
ECHO = signature({"text": DType.STRING}, {"text": DType.STRING}, name="echo")

SIGNATURES = (PREDICT, CLASSIFY, REGRESS, TWO, OPTIONAL, ECHO)


def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return every output that `inputs` allow, of a signature or of several joined."""
    outputs: dict[str, Array] = {}
    for alias, array in inputs.items():
        prefix, slash, name = alias.rpartition("/")
        for output, values in _compute_one(name, array, inputs).items():
            outputs[prefix + slash + output] = values
    return outputs


def _compute_one(name: str, array: Array, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    match name:
        case "x":
            return {"y": (array / 2 + 2).astype(np.float32)}
        case "inputs":
            lengths = np.array([[len(example)] for example in array], np.float32)
            classes = np.empty((len(array), 1), object)
            classes[:] = b"length"
            return {"classes": classes, "scores": lengths, "outputs": lengths}
        case "a":
            return {"sum": array + inputs["b"], "product": array * inputs["b"]}
        case "text":
            return {"text": array}
        case _:
            return {}


class FailingServable(FakeServable):
    """Raises each of `errors` in turn."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(SIGNATURES, compute)
        self._errors = list(errors)

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        raise self._errors.pop(0)
