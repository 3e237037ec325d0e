"""The model behind the rules of the REST API: a signature for every one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from sigrun.errors import Code, error_for
from sigrun.tensors.signature import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Array,
    DType,
    Signature,
)
from tests.fakes.servables import signature

SLOW = "slow"


def _defined(
    name: str,
    inputs: Mapping[str, DType],
    outputs: Mapping[str, DType],
    method_name: str = PREDICT_METHOD,
) -> Signature:
    """Return a signature with its definition, from which others read it."""
    plain = signature(inputs, outputs, name=name, method_name=method_name)
    definition = SignatureDef(method_name=method_name)
    for tensors, specs in (
        (definition.inputs, plain.inputs),
        (definition.outputs, plain.outputs),
    ):
        for alias, spec in specs.items():
            assert spec.dtype is not None
            info = TensorInfo(name=spec.name, dtype=spec.dtype.value)  # type: ignore[arg-type]
            info.tensor_shape.dim.add(size=-1)
            tensors[alias].CopyFrom(info)
    return Signature(
        name=name,
        method_name=method_name,
        inputs=plain.inputs,
        outputs=plain.outputs,
        definition=definition.SerializeToString(),
    )


_FLOAT, _STRING = DType.FLOAT, DType.STRING

SIGNATURES = (
    _defined("serving_default", {"x": _FLOAT}, {"y": _FLOAT}),
    *(_defined(f"echo_{dtype.name.lower()}", {"x": dtype}, {"x": dtype}) for dtype in DType),
    _defined("two", {"a": _FLOAT, "b": _STRING}, {"a": _FLOAT, "b": _STRING}),
    _defined("b64", {"b64": _STRING}, {"b64": _STRING}),
    _defined("b64_number", {"b64": _FLOAT}, {"b64": _FLOAT}),
    _defined("as_bytes", {"x": _STRING}, {"x_bytes": _STRING}),
    _defined("two_of_bytes", {"x": _STRING}, {"x": _STRING, "x_bytes": _STRING}),
    _defined("no_inputs", {}, {"y": _FLOAT}),
    _defined("no_outputs", {"x": _FLOAT}, {}),
    signature(
        {"x": _FLOAT, "t": _FLOAT},
        {"y": _FLOAT},
        name="with_default",
        defaults={"t": np.array(10, np.float32)},
    ),
    _defined("scalar", {"x": _FLOAT}, {"sum": _FLOAT}),
    _defined("uneven", {"x": _FLOAT}, {"one": _FLOAT, "two": _FLOAT}),
    _defined("constant", {"x": _FLOAT}, {"numbers": DType.DOUBLE}),
    _defined(SLOW, {"x": _FLOAT}, {"x": _FLOAT}),
    *(_defined(f"fails_{code.name}", {"x": _FLOAT}, {"x": _FLOAT}) for code in Code if code),
    _defined(
        "classify", {"inputs": _STRING}, {"classes": _STRING, "scores": _FLOAT}, CLASSIFY_METHOD
    ),
    _defined("classes_only", {"inputs": _STRING}, {"classes": _STRING}, CLASSIFY_METHOD),
    _defined("scores_only", {"inputs": _STRING}, {"scores": _FLOAT}, CLASSIFY_METHOD),
    _defined("regress", {"inputs": _STRING}, {"outputs": _FLOAT}, REGRESS_METHOD),
)

NUMBERS = np.array([0.1, 1e300, 5e-324, 9000000.0, 2.0, -0.0, np.nan, np.inf, -np.inf])


class RestServable:
    """Runs each signature of the table; `runs` lists the inputs."""

    def __init__(self) -> None:
        self.signatures = {signature.name: signature for signature in SIGNATURES}
        self.runs: list[tuple[str, Mapping[str, Array]]] = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    @property
    def may_run_inline(self) -> bool:
        return False

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> None:
        """Leave everything to `run`."""

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        self.runs.append((signature.name, inputs))
        self.started.set()
        if signature.name == SLOW:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        values = _compute(signature, inputs)
        return [values[alias] for alias in outputs]


def _compute(wanted: Signature, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    if wanted.name.startswith("fails_"):
        code = Code[wanted.name.removeprefix("fails_")]
        raise error_for(code, f'the model\'s "{code.name}"')
    if "inputs" in inputs:
        return _examples_outputs(inputs["inputs"])
    x = inputs.get("x", np.zeros(1, np.float32))
    if wanted.name == "with_default":
        return {"y": x + inputs["t"]}
    return {
        **inputs,
        "y": (x / 2 + 2).astype(np.float32) if x.dtype == np.float32 else x,
        "x_bytes": x,
        "sum": np.asarray(x.sum() if wanted.name == "scalar" else 0, np.float32),
        "one": x,
        "two": np.concatenate([np.atleast_1d(x)] * 2),
        "numbers": NUMBERS,
    }


def _examples_outputs(examples: Array) -> Mapping[str, Array]:
    """Return for each example its features as text, and the sum of its numbers."""
    parsed = [_features(example) for example in examples]
    classes = np.empty((len(examples), 2), object)
    classes[:, 0] = [text.encode() for text, _ in parsed]
    classes[:, 1] = b"other"
    sums = np.array([[number, number / 3] for _, number in parsed], np.float32)
    return {"classes": classes, "scores": sums, "outputs": sums[:, 0]}


def _features(serialized: bytes) -> tuple[str, float]:
    texts, number = [], 0.0
    for name, feature in sorted(Example.FromString(serialized).features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        texts.append(f"{name}={kind}{values}")
        number += sum(value for value in values if not isinstance(value, bytes))
    return " ".join(texts), number
