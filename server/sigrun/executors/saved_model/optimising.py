"""Put a model whose variables nothing writes into a session where they are constants.

In: a model that is loaded. Out: another that answers the same, and faster; or why there is
none. The caller closes the one that it does not keep: until then they share the memory of
the variables that stay variables.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sigrun.executors.prepared import tensor_names
from sigrun.executors.saved_model.freezing import CannotFreeze, choose_constants, frozen_graph
from sigrun.executors.saved_model.graph_analysis import (
    Reached,
    is_random,
    keeps_tables,
    reach,
    state_changes,
)
from sigrun.executors.saved_model.model import LoadedModel, is_callable
from sigrun.executors.saved_model.sample_requests import Compare, answer, made_up_requests
from sigrun.executors.saved_model.session import SessionExecutor
from sigrun.tensors.signature import Array, Signature

_LONG_S = 1.0  # of one request: another would make the load longer still


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialiser:
    """The operation that a SavedModel wants to have run when it is loaded."""

    name: str = ""  # of a node; empty: there is none
    assets: Mapping[str, Any]  # what to feed: where the asset files are, by tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A graph with constants, and what its session has to be given."""

    graph: Any
    constants: int
    variables: Mapping[str, Array]
    rewritten: Mapping[str, Array]  # those of them that the initialiser may write
    initialiser: Initialiser

    def initialise(self, session: SessionExecutor) -> None:
        """Give the session of `graph` all the state that the model had."""
        session.assign(self.variables)
        if self.initialiser.name:
            session.run_operation(self.initialiser.name, self.initialiser.assets)
            session.assign(self.rewritten)


def freeze(
    session: SessionExecutor, signatures: Mapping[str, Signature], initialiser: Initialiser
) -> Frozen:
    """Return the graph of `session` with constants for what `signatures` read.

    Raises `CannotFreeze` where a signature keeps state, or nothing is gained.
    """
    graph = session.graph()
    tensors = [name for each in _callable(signatures) for name in _tensors(each)]
    reached = reach(graph, tensors)
    _refuse_state(reached)
    start = [initialiser.name] if initialiser.name else []
    at_start = reach(graph, start).variables
    if not at_start & reached.variables and not keeps_tables(reached.operations):
        start, at_start = [], set()  # it does nothing that the signatures could see
    read = reached.variables | at_start
    read -= set(session.uninitialised(read))
    chosen = choose_constants(session.declared(read - at_start))
    if not chosen:
        raise CannotFreeze("no variable would gain by it")
    values = session.values(read)
    constants = {name: values[name] for name in chosen}
    result = frozen_graph(graph, constants, [*tensors, *start])
    nodes = {node.name for node in result.node}
    return Frozen(
        graph=result,
        constants=len(constants),
        variables={name: value for name, value in values.items() if name not in chosen},
        rewritten={name: value for name, value in values.items() if name in at_start},
        initialiser=Initialiser(
            name=start[0] if start else "",
            assets={
                tensor: path
                for tensor, path in initialiser.assets.items()
                if tensor.partition(":")[0] in nodes
            },
        ),
    )


def check_alike(graph: Any, model: LoadedModel, other: LoadedModel, compare: Compare) -> None:
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
            difference = compare(want, answer(calls[signature.name], inputs))
            if difference is not None:
                raise CannotFreeze(f"{signature.name} would answer otherwise: {difference}")
            if time.perf_counter() - started > _LONG_S:
                break


def _refuse_state(reached: Reached) -> None:
    if changes := state_changes(reached.operations):
        raise CannotFreeze(f"its signatures keep state ({', '.join(changes)})")
    if hidden := sorted(reached.hidden_variables):
        raise CannotFreeze(f"variables are inside of functions ({', '.join(hidden)})")


def _callable(signatures: Mapping[str, Signature]) -> list[Signature]:
    return [signature for signature in signatures.values() if is_callable(signature)]


def _tensors(signature: Signature) -> list[str]:
    inputs, outputs = tensor_names(signature, signature.outputs)
    return [*inputs, *outputs]
