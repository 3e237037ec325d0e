"""Give a model whose variables nothing writes a graph in which they are constants.

In: a session, and the signatures that read it. Out: a graph that answers the same, and faster;
or why there is none. Where variables or tables are left, the graph shares the session with the
model that it replaces, and so their memory: nothing is copied but what becomes a constant.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sigrun.executors.prepared import tensor_names
from sigrun.executors.saved_model.freezing import (
    FILTER_RANK,
    CannotFreeze,
    choose_constants,
    frozen_graph,
)
from sigrun.executors.saved_model.graph_analysis import Reached, is_random, reach, state_changes
from sigrun.executors.saved_model.model import LoadedModel, is_callable
from sigrun.executors.saved_model.purity import variables_before_impure
from sigrun.executors.saved_model.sample_requests import Compare, answer, made_up_requests
from sigrun.executors.saved_model.session import SessionExecutor
from sigrun.tensors.signature import Array, Signature

_LONG_S = 1.0  # of one request: another would make the load longer still
_LITTLE_BYTES = 2**20  # of variables: a run that reads no more is short, and each read counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A graph with constants."""

    graph: Any
    constants: int  # how many


def freeze(session: SessionExecutor, signatures: Mapping[str, Signature]) -> Frozen:
    """Return the graph of `session` with constants for what `signatures` read.

    Raises `CannotFreeze` where a signature keeps state, or nothing is gained.
    """
    graph = session.graph()
    tensors = signature_tensors(signatures)
    reached = reach(graph, tensors)
    _refuse_state(reached)
    read = reached.variables - set(session.uninitialised(reached.variables))
    declared = session.declared(read - variables_before_impure(reached))
    chosen = choose_constants(declared)
    if not _is_gain(chosen, session.declared(read)):
        raise CannotFreeze("it would gain nothing, or too little")
    constants = session.values(chosen)
    return Frozen(graph=frozen_graph(graph, constants, tensors), constants=len(constants))


def signature_tensors(signatures: Mapping[str, Signature]) -> list[str]:
    """Return the names of all tensors that requests may feed or fetch."""
    return [
        name
        for signature in signatures.values()
        if is_callable(signature)
        for name in _tensors(signature)
    ]


def _is_gain(chosen: Collection[str], variables: Mapping[str, Array]) -> bool:
    """Return whether a run gains by it that `chosen` of `variables` are constants.

    It does by filters, into which TensorFlow folds what follows them. A read that is saved
    is a fraction of a microsecond, which is something only in a short run, or in numbers.
    """
    if any(variables[name].ndim >= FILTER_RANK for name in chosen):
        return True
    kept = [array.nbytes for name, array in variables.items() if name not in chosen]
    return bool(chosen) and (sum(kept) <= _LITTLE_BYTES or len(chosen) > 2 * len(kept))


def check_alike(
    graph: Any, model: LoadedModel, other: LoadedModel, compare: Compare, tolerance: float
) -> None:
    """Raise `CannotFreeze` unless made-up requests are answered alike by both.

    `graph` is the GraphDef of `model`; signatures with random numbers are not compared.
    """
    calls = {signature.name: prepared.call for signature, prepared in other.prepared()}
    for signature, prepared in model.prepared():
        if signature.name not in calls:
            raise CannotFreeze(f"{signature.name} cannot be run then")
        if is_random(reach(graph, _tensors(signature)).operations):
            continue
        for inputs in made_up_requests(signature):
            started = time.perf_counter()
            want = answer(prepared.call, inputs)
            difference = compare(want, answer(calls[signature.name], inputs), tolerance)
            if difference is not None:
                raise CannotFreeze(f"{signature.name} would answer otherwise: {difference}")
            if time.perf_counter() - started > _LONG_S:
                break


def _refuse_state(reached: Reached) -> None:
    if changes := state_changes(reached.operations):
        raise CannotFreeze(f"its signatures keep state ({', '.join(changes)})")
    if hidden := sorted(reached.hidden_variables):
        raise CannotFreeze(f"variables are inside of functions ({', '.join(hidden)})")


def _tensors(signature: Signature) -> list[str]:
    inputs, outputs = tensor_names(signature, signature.outputs)
    return [*inputs, *outputs]
