"""Turn variables that nothing writes into constants, so that TensorFlow folds what it can.

In: a GraphDef, the values of its variables, and what has to stay in it. Out: a GraphDef
without the rest. What is folded then (batch normalisations into the filters before them,
filters into the layout that a processor likes) makes convolutions cheaper by a quarter.

A session keeps several copies of a constant: one in each graph, one for each prepared call.
So what is large and gains nothing stays a variable: the matrices of dense layers, and
tables of embeddings.

A variable reaches the operations that read it through functions that take a handle. Where
it becomes a constant they have to take its value instead: such a function is copied, once
for each set of arguments, and what reads the handle in it is replaced by what uses a value.

TensorFlow's own `convert_variables_to_constants_from_session_graph` has gaps that models fall
into: gathers inside of functions stay, those with `batch_dims` are refused, reads are found by
the names that Keras gave them once, and it says nothing of what it could not convert.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sigrun.executors.saved_model.graph_analysis import called, functions_of, reach
from sigrun.executors.saved_model.tensorflow_imports import tf
from sigrun.tensors.signature import Array

_SMALL_BYTES = 64 * 2**10  # at least what a layer has beside its kernel
FILTER_RANK = 3  # filters of convolutions have that many dimensions or more
_MOST_BYTES = 16 * 2**20  # of constants in all

_FORWARDS = frozenset({"Identity", "Enter", "Switch"})  # a handle comes out as it went in
# How many inputs stand before the arguments of the functions, and what types those.
_CALLS = {
    "PartitionedCall": (0, "Tin"),
    "StatefulPartitionedCall": (0, "Tin"),
    "If": (1, "Tin"),
    "StatelessIf": (1, "Tin"),
    "Case": (1, "Tin"),
    "StatelessCase": (1, "Tin"),
    "While": (0, "T"),
    "StatelessWhile": (0, "T"),
}
_LOOPS = frozenset({"While", "StatelessWhile"})  # they hand their arguments on
_INT32 = 3  # DT_INT32

Types = dict[int, int]
"""Which arguments are values, not handles: their element types, by position."""


class CannotFreeze(Exception):
    """A graph has to stay as it is; says why."""


def choose_constants(variables: Mapping[str, Array]) -> set[str]:
    """Return the names of those that gain by becoming constants, as many as may be.

    It goes by dtypes and shapes, not by values.
    """
    gains = {
        name: value.nbytes
        for name, value in variables.items()
        if value.dtype.kind != "O" and (value.nbytes <= _SMALL_BYTES or value.ndim >= FILTER_RANK)
    }
    chosen: set[str] = set()
    total = 0
    for name in sorted(gains, key=lambda name: (gains[name], name)):
        total += gains[name]
        if total > _MOST_BYTES:
            break
        chosen.add(name)
    return chosen


def frozen_graph(graph: Any, constants: Mapping[str, Array], kept: Collection[str]) -> Any:
    """Return a copy of `graph` (a GraphDef) that computes `kept` and has `constants`.

    `kept` are names of nodes or tensors. Raises `CannotFreeze` where a handle goes to an
    operation that has no counterpart for values.
    """
    return _Freezer(graph, constants).graph(kept)


class _Freezer:
    """One graph that is being copied."""

    def __init__(self, graph: Any, constants: Mapping[str, Array]) -> None:
        self._source = graph
        self._constants = constants
        self._functions = {each.signature.name: each for each in graph.library.function}
        self._copies: dict[tuple[str, tuple[tuple[int, int], ...]], tuple[str, Types]] = {}

    def graph(self, kept: Collection[str]) -> Any:
        result = type(self._source)(versions=self._source.versions)
        result.node.extend(reach(self._source, kept).nodes.values())  # copies
        values = {}
        for node in result.node:
            node.attr.pop("_class", None)  # it may name a node that is left behind
            if node.name in self._constants:
                is_handle = node.op == "VarHandleOp"
                dtype = _into_constant(node, self._constants[node.name])
                if is_handle:  # what reads a variable of TensorFlow 1 takes a value already
                    values[f"{node.name}:0"] = dtype
        self._convert(result.node, values, _IN_GRAPH)
        result.library.function.extend(called(self._functions, result.node).values())
        return result

    def _convert(self, nodes: Any, values: dict[str, int], scope: _Scope) -> dict[str, int]:
        """Let `nodes` take `values`, tensors that were handles; return these and what follows."""
        while more := _forwarded(nodes, values, scope):
            values = values | more
        added = []
        for node in nodes:
            types = {
                index: values[scope.full_name(source)]
                for index, source in enumerate(node.input)
                if scope.full_name(source) in values
            }
            if types:
                added += self._convert_node(node, types, scope)
        nodes.extend(added)
        return values

    def _convert_node(self, node: Any, types: Types, scope: _Scope) -> list[Any]:
        """Let `node` take values at some inputs; return nodes that it needs for that."""
        node.attr.pop("_output_shapes", None)
        if node.op in _CALLS:
            self._convert_call(node, types)
        elif [*types] != [0]:
            raise _no_counterpart(node)
        elif node.op in _FORWARDS:
            node.attr["T"].type = types[0]
        elif node.op == "ReadVariableOp":
            _replace(node, "Identity", T=types[0])
        elif node.op == "VariableShape":
            out_type = node.attr["out_type"].type or _INT32  # a default may be left out
            _replace(node, "Shape", T=types[0], out_type=out_type)
        elif node.op == "ResourceGatherNd":
            _replace(node, "GatherNd", Tparams=types[0], Tindices=node.attr["Tindices"].type)
        elif node.op == "ResourceGather":
            return [_into_gather(node, types[0], scope)]
        else:
            raise _no_counterpart(node)
        return []

    def _convert_call(self, node: Any, types: Types) -> None:
        first, typed_by = _CALLS[node.op]
        arguments = {index - first: dtype for index, dtype in types.items()}
        if min(arguments) < 0:
            raise _no_counterpart(node)
        for position, dtype in arguments.items():
            node.attr[typed_by].list.type[position] = dtype
            if node.op in _LOOPS and node.attr["output_shapes"].list.shape:
                shape = node.attr["output_shapes"].list.shape[position]
                shape.ClearField("dim")
                shape.unknown_rank = True
        for function in functions_of(node):
            is_body = node.op in _LOOPS and function.name == node.attr["body"].func.name
            function.name, returned = self._copy(function.name, arguments)
            if returned != (arguments if is_body else {}):
                raise CannotFreeze(f"{node.name} ({node.op}) returns variables")

    def _copy(self, name: str, arguments: Types) -> tuple[str, Types]:
        """Return a copy of a function that takes values as `arguments`, and what it returns."""
        key = name, tuple(sorted(arguments.items()))
        if key not in self._copies:
            self._copies[key] = self._new_copy(name, arguments)
        return self._copies[key]

    def _new_copy(self, name: str, arguments: Types) -> tuple[str, Types]:
        copy = type(self._functions[name])()
        copy.CopyFrom(self._functions[name])
        signature = copy.signature
        signature.name = f"{name}_frozen_{len(self._functions)}"
        copy.attr.pop("_input_shapes", None)
        values = {}
        for position, dtype in arguments.items():
            argument = signature.input_arg[position]
            argument.type = dtype
            argument.ClearField("handle_data")
            copy.arg_attr.pop(position, None)
            copy.resource_arg_unique_id.pop(position, None)
            values[argument.name] = dtype
        reads = {node.name for node in copy.node_def if node.op == "ReadVariableOp"}
        values = self._convert(copy.node_def, values, _IN_FUNCTION)
        _rename_reads(copy, reads)
        returned = {}
        for position, output in enumerate(signature.output_arg):
            if (dtype_or_none := values.get(copy.ret[output.name])) is not None:
                output.type = returned[position] = dtype_or_none
                output.ClearField("handle_data")
        self._functions[signature.name] = copy
        return signature.name, returned


@dataclass(frozen=True, slots=True)
class _Scope:
    """How tensors are named: `node:0` in a graph, `node:output:0` in a function."""

    is_function: bool

    def full_name(self, source: str) -> str:
        """Return the name of an input with the number that may be left out of it."""
        return source if self.is_function or ":" in source else f"{source}:0"

    def output(self, node: Any, index: int) -> str:
        """Return the name of an output, where the operation calls them all `output`."""
        return f"{node.name}:{'output:' if self.is_function else ''}{index}"

    def outputs(self, node: Any, index: int) -> list[str]:
        """Return the names of all outputs that are the input `index` of such a node."""
        if node.op in _LOOPS:
            return [self.output(node, index)]
        if node.op == "Switch":
            return [
                f"{node.name}:{name}"
                for name in (("output_false:0", "output_true:0") if self.is_function else "01")
            ]
        return [self.output(node, 0)]


_IN_GRAPH, _IN_FUNCTION = _Scope(False), _Scope(True)


def _forwarded(nodes: Any, values: Mapping[str, int], scope: _Scope) -> dict[str, int]:
    """Return the outputs that are one of `values` and not among them yet."""
    return {
        output: values[scope.full_name(source)]
        for node in nodes
        if node.op in _FORWARDS or node.op in _LOOPS
        for index, source in enumerate(node.input)
        if scope.full_name(source) in values
        for output in scope.outputs(node, index)
        if output not in values
    }


def _into_constant(node: Any, value: Array) -> int:
    dtype = int(node.attr["dtype"].type)
    _replace(node, "Const", dtype=dtype)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype=dtype))
    return dtype


def _into_gather(node: Any, dtype: int, scope: _Scope) -> Any:
    """Make `node` a GatherV2 and return the node of the axis that it takes as a third input."""
    batch_dims = node.attr["batch_dims"].i
    axis = type(node)(name=f"{node.name}/frozen_axis", op="Const")
    axis.attr["dtype"].type = _INT32
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(batch_dims, dtype=_INT32))
    _replace(node, "GatherV2", Tparams=dtype, Tindices=node.attr["Tindices"].type, Taxis=_INT32)
    node.attr["batch_dims"].i = batch_dims
    node.input.insert(2, scope.output(axis, 0))
    return axis


def _replace(node: Any, operation: str, **types: int) -> None:
    """Make `node` another operation with the same inputs and only these attributes."""
    node.op = operation
    node.attr.clear()
    for name, dtype in types.items():
        node.attr[name].type = dtype


def _rename_reads(function: Any, reads: Collection[str]) -> None:
    """Call what a node that was a ReadVariableOp yields as an Identity calls it."""
    converted = {node.name for node in function.node_def if node.op == "Identity"} & set(reads)
    names = {f"{name}:value:0": f"{name}:output:0" for name in converted}
    for node in function.node_def:
        for index, source in enumerate(node.input):
            if source in names:
                node.input[index] = names[source]
    for output, source in function.ret.items():
        function.ret[output] = names.get(source, source)


def _no_counterpart(node: Any) -> CannotFreeze:
    return CannotFreeze(f"{node.name} ({node.op}) takes a variable, and has to")
