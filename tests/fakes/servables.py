"""A servable whose signatures are Python functions, and a loader that obeys the test."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from sigrun._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from sigrun.servables.servable import Servable, ServableId
from sigrun.tensors.signature import (
    PREDICT_METHOD,
    Array,
    DType,
    Signature,
    TensorSpec,
)
from sigrun.wire.protobuf import tensors

Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def signature(
    inputs: Mapping[str, DType],
    outputs: Mapping[str, DType],
    *,
    name: str = "serving_default",
    method_name: str = PREDICT_METHOD,
    defaults: Mapping[str, Array] | None = None,
) -> Signature:
    """Return a signature whose tensors are vectors named after their aliases."""

    def specs(tensors: Mapping[str, DType]) -> dict[str, TensorSpec]:
        return {
            alias: TensorSpec(name=f"{alias}:0", dtype=dtype, shape=(None,))
            for alias, dtype in tensors.items()
        }

    return defined(
        Signature(
            name=name,
            method_name=method_name,
            inputs=specs(inputs),
            outputs=specs(outputs),
            defaults=defaults or {},
        )
    )


def defined(signature: Signature) -> Signature:
    """Return `signature` with the definition that says the same."""
    message = SignatureDef(method_name=signature.method_name)
    for infos, specs in (
        (message.inputs, signature.inputs),
        (message.outputs, signature.outputs),
    ):
        for alias, spec in specs.items():
            info = infos[alias]
            info.name = spec.name
            info.dtype = spec.dtype.value if spec.dtype else 0  # type: ignore[assignment]
            info.tensor_shape.unknown_rank = spec.shape is None
            for size in spec.shape or ():
                info.tensor_shape.dim.add(size=-1 if size is None else size)
    for alias, array in signature.defaults.items():
        message.defaults[alias].CopyFrom(tensors.encode(array))
    definition = message.SerializeToString(deterministic=True)
    return dataclasses.replace(signature, definition=definition)


HALF_PLUS_TWO = signature({"x": DType.FLOAT}, {"y": DType.FLOAT})


def half_plus_two(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute the tutorial's model."""
    return {"y": (inputs["x"] / 2 + 2).astype(np.float32)}


class FakeServable:
    """Runs `compute` for every signature, after `gate` has been opened; if `is_quick`, at once.

    `runs` lists what was asked of it, `cancelled` counts runs that were given up; `started` is
    set by the first request.
    """

    def __init__(
        self,
        signatures: Sequence[Signature] = (HALF_PLUS_TWO,),
        compute: Compute = half_plus_two,
        *,
        is_quick: bool = False,
    ) -> None:
        self.may_run_inline = is_quick
        self._signatures = {signature.name: signature for signature in signatures}
        self._compute = compute
        self.runs: list[tuple[str, Mapping[str, Array], tuple[str, ...], float | None]] = []
        self.cancelled = 0
        self.started = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._signatures

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array] | None:
        """Leave everything to `run`, unless the model is quick."""
        if not self.may_run_inline:
            return None
        self.runs.append((signature.name, inputs, tuple(outputs), deadline))
        values = self._compute(inputs)
        return [values[alias] for alias in outputs]

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        self.runs.append((signature.name, inputs, tuple(outputs), deadline))
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        values = self._compute(inputs)
        return [values[alias] for alias in outputs]


class FakeLoader:
    """Loads `servable`, or fails with each of `errors` in turn first.

    With `is_held` loading waits until `release` is set. `loads` and `unloads` count.
    """

    def __init__(
        self,
        id: ServableId,
        *,
        servable: Servable | None = None,
        revision: Hashable = 0,
        errors: Sequence[Exception] = (),
        is_held: bool = False,
    ) -> None:
        self.id = id
        self.revision = revision
        self.servable: Servable = servable or FakeServable()
        self.errors = list(errors)
        self.release = asyncio.Event()
        if not is_held:
            self.release.set()
        self.loads = 0
        self.unloads = 0

    async def load(self) -> Servable:
        self.loads += 1
        await self.release.wait()
        if self.errors:
            raise self.errors.pop(0)
        return self.servable

    async def unload(self) -> None:
        self.unloads += 1
