"""What a graph demands of the one who runs it: a kind of executor, and variables.

In: a GraphDef. Out: how its session has to be set up, and which variables its signatures
read. Decided once, at load, from the names of operations.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from typing import Any

from sigrun.executors.saved_model.boundary import op_def_registry


class Execution(enum.Enum):
    """Who runs the operations of a graph; the members are in order of preference.

    SEQUENTIAL: the caller's thread, one after the other in an order fixed beforehand.
    Knows neither reference types nor the control flow of TensorFlow 1.
    CALLER: the caller's thread, but in the order in which inputs become ready.
    THREADED: a thread pool. Each run is handed over and back, which costs more than a
    small model does, but an operation that waits for another does not stop it. With several
    devices (a GPU) this is the only way, whatever the graph permits.
    """

    SEQUENTIAL = "sequential"
    CALLER = "caller"
    THREADED = "threaded"


_CONTROL_FLOW = frozenset(
    {"Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond"}
    | {"RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration"}
)
# These wait for another run, or for another operation of the same one.
_WAITS = re.compile(
    r"Queue|Barrier|^((Ordered)?Map)?(Uns|S)tage|^Collective|^_?(Host)?Recv"
    r"|ConditionalAccumulator|AccumulatorTakeGradient|^(Un)?[Bb]atch(Function)?$"
)
_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def choose_execution(graph: Any) -> Execution:
    """Return the cheapest way to run `graph` (a GraphDef) that it permits."""
    operations = {node.op for node in _nodes(graph)}
    if any(_WAITS.search(operation) for operation in operations):
        return Execution.THREADED
    if operations & _CONTROL_FLOW or any(_makes_reference(name) for name in operations):
        return Execution.CALLER
    return Execution.SEQUENTIAL


def variables_read(graph: Any, tensors: Collection[str]) -> set[str]:
    """Return the names of the variables in `graph` from which `tensors` are computed."""
    nodes = {node.name: node for node in graph.node}
    ahead = {_node_of(tensor) for tensor in tensors}
    seen: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            ahead.update(_node_of(source) for source in nodes[name].input)
    return {name for name in seen if nodes[name].op in _VARIABLES}


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield every node, those of functions too: the optimiser may inline them."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _makes_reference(operation: str) -> bool:
    definition = op_def_registry.get(operation)
    return definition is not None and any(output.is_ref for output in definition.output_arg)


def _node_of(tensor: str) -> str:
    """Return the node of a tensor's name (`x:0`) or of a control input (`^x`)."""
    return tensor.removeprefix("^").partition(":")[0]
