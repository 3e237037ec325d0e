"""What a graph demands of the one who runs it: a kind of executor, variables, care.

In: a GraphDef. Out: how its session has to be set up; which variables its signatures read;
whether a run may change something, wait, or take longer than its inputs' sizes tell.
Decided once, at load, from the names of operations.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sigrun.executors.saved_model.tensorflow_imports import op_def_registry


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
_RESOURCE = 20  # DT_RESOURCE
_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})

# Operations with state whose runs change none that another run could see.
_ONLY_READS = (
    _VARIABLES
    | {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"}
    | {"VarIsInitializedOp", "IsVariableInitialized"}
    | {"HashTable", "HashTableV2", "LookupTableFind", "LookupTableFindV2"}
    | {"LookupTableSize", "LookupTableSizeV2", "LookupTableExport", "LookupTableExportV2"}
    | {"StatefulPartitionedCall", "If", "Case", "While", "Assert", "Print", "PrintV2"}
    | {"StatelessRandomGetAlg", "StatelessRandomGetKeyCounter"}
    | _CONTROL_FLOW
)
_TENSOR_ARRAY = re.compile(r"^TensorArray|^Stack(Push|Pop|Close)?(V2)?$")  # those of one run
_RANDOM = re.compile(r"Random|Multinomial|TruncatedNormal|CandidateSampler")
_QUEUE = "Queue"  # RandomShuffleQueue: named like random numbers, but kept between runs

# These can wait for something outside of the process, or for its Python.
_REACHES_OUT = re.compile(r"File|Dataset|Iterator|Reader|PyFunc|Print|Save|Restore|Remote|Sleep")
_LOOPS = frozenset({"While", "StatelessWhile", "For", "LoopCond"})


def choose_execution(graph: Any) -> Execution:
    """Return the cheapest way to run `graph` (a GraphDef) that it permits."""
    operations = {node.op for node in all_nodes(graph)}
    if any(_WAITS.search(operation) for operation in operations):
        return Execution.THREADED
    if operations & _CONTROL_FLOW or any(_makes_reference(name) for name in operations):
        return Execution.CALLER
    return Execution.SEQUENTIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What is computed when some tensors of a graph are asked for."""

    nodes: Mapping[str, Any]  # by name: those of the graph itself
    functions: Mapping[str, Any]  # by name: those that are called, by others of them too

    @property
    def variables(self) -> set[str]:
        """The names of the variables among the nodes."""
        return {name for name, node in self.nodes.items() if node.op in _VARIABLES}

    @property
    def hidden_variables(self) -> set[str]:
        """The names of variables inside of functions: shared by name, with no node outside."""
        return {node.name for node in self._nodes_of_functions() if node.op in _VARIABLES}

    @property
    def operations(self) -> set[str]:
        """The names of all operations."""
        nodes = [*self.nodes.values(), *self._nodes_of_functions()]
        return {node.op for node in nodes}

    def _nodes_of_functions(self) -> Iterator[Any]:
        for function in self.functions.values():
            yield from function.node_def


def reach(graph: Any, tensors: Collection[str]) -> Reached:
    """Return what the GraphDef `graph` computes to get `tensors`; unknown names are skipped."""
    known = {node.name: node for node in graph.node}
    ahead = {node_of(tensor) for tensor in tensors}
    nodes: dict[str, Any] = {}
    while ahead:
        name = ahead.pop()
        if name in known and name not in nodes:
            nodes[name] = known[name]
            ahead.update(node_of(source) for source in known[name].input)
    known_functions = {function.signature.name: function for function in graph.library.function}
    return Reached(nodes=nodes, functions=called(known_functions, nodes.values()))


def called(functions: Mapping[str, Any], nodes: Collection[Any]) -> dict[str, Any]:
    """Return those of `functions` that `nodes` call, by way of others of them too."""
    reached: dict[str, Any] = {}
    ahead = [*nodes]
    while ahead:
        for function in functions_of(ahead.pop()):
            if function.name in functions and function.name not in reached:
                reached[function.name] = functions[function.name]
                ahead.extend(functions[function.name].node_def)
    return reached


def functions_of(node: Any) -> Iterator[Any]:
    """Yield the attribute values (`NameAttrList`) in which `node` names a function."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func
        yield from value.list.func


def all_nodes(graph: Any) -> Iterator[Any]:
    """Yield every node, those of functions too: the optimiser may inline them."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def holds_state(node: Any) -> bool:
    """Return whether what `node` makes is shared by all who name it: a variable, a table."""
    definition = op_def_registry.get(node.op)
    return definition is not None and any(
        output.is_ref or output.type == _RESOURCE for output in definition.output_arg
    )


def initialised_copies(graph: Any, variables: Collection[str]) -> dict[str, str]:
    """Return by the names of `variables` those whose initial values are read from them."""
    nodes = {node.name: node for node in graph.node}
    copies = {}
    for node in graph.node:
        if node.op == "AssignVariableOp":
            value = nodes.get(node_of(node.input[1]))
            if value is not None and value.op == "ReadVariableOp":
                original = node_of(value.input[0])
                if original in variables:
                    copies[original] = node_of(node.input[0])
    return copies


def state_changes(operations: Collection[str]) -> list[str]:
    """Return those of `operations` with which one run may change what another one answers.

    Random numbers are none: a run leaves nothing behind that others rely upon.
    """
    return sorted(filter(_changes_state, operations))


def is_random(operations: Collection[str]) -> bool:
    """Return whether two runs with the same inputs may answer differently."""
    return any(_draws(operation) for operation in operations)


def may_hold_up(operations: Collection[str]) -> list[str]:
    """Return those of `operations` because of which a run may take any time.

    They wait, reach out of the process, repeat work as often as the inputs' values say, or
    nothing is known of them.
    """
    return sorted(
        operation
        for operation in operations
        if _WAITS.search(operation)
        or _REACHES_OUT.search(operation)
        or operation in _LOOPS
        or (_changes_state(operation) and not _assigns(operation))
    )


def node_of(tensor: str) -> str:
    """Return the node of a tensor's name (`x:0`) or of a control input (`^x`)."""
    return tensor.removeprefix("^").partition(":")[0]


def _changes_state(operation: str) -> bool:
    if operation in _ONLY_READS or _TENSOR_ARRAY.search(operation) or _draws(operation):
        return False
    definition = op_def_registry.get(operation)
    if definition is None:  # of a library of somebody's own
        return True
    takes_reference = any(source.is_ref for source in definition.input_arg)
    return takes_reference or bool(definition.is_stateful)


def _draws(operation: str) -> bool:
    is_stateless = operation.startswith("Stateless")
    return bool(_RANDOM.search(operation)) and _QUEUE not in operation and not is_stateless


def _assigns(operation: str) -> bool:
    return operation.startswith(("Assign", "Scatter", "ResourceScatter"))


def _makes_reference(operation: str) -> bool:
    definition = op_def_registry.get(operation)
    return definition is not None and any(output.is_ref for output in definition.output_arg)
