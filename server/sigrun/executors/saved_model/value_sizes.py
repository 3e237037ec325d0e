"""Operations that make as much as the values of a request say, however small the request is.

In: what a signature reaches in a graph. Out: the operations of which nobody knows beforehand how
long they take: `tf.fill` of a size that is sent, an image of a few bytes that is huge. Where the
size is a constant, or comes of the shapes of inputs, an operation takes what such inputs take.

The values of inputs are followed from the placeholders through everything that is computed of
them, into functions too; a shape ends the trail.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sigrun.executors.saved_model.graph_analysis import Reached, functions_of, node_of
from sigrun.executors.saved_model.tensorflow_imports import op_def_registry

# What the arguments of operations are called that say how large an output is. A pattern, as there
# are more of them than anybody lists; one too many costs a hand-over to a thread and no more.
_SIZE = re.compile(
    r"shape|size|dim|num|nbins|nrows|depth|multiples|padding|length|segment_ids"
    r"|^(start|limit|delta)$"
)
# These have such an argument, and make nothing that is larger than what they are given.
_NOT_SIZED = frozenset(
    {"Reshape", "QuantizedReshape", "Slice", "Reverse", "AdjustHue", "ConcatOffset"}
    | {"ExpandDims", "Squeeze", "Split", "SplitV", "Concat", "ArgMax", "ArgMin", "ReverseSequence"}
    | {"TensorListGetItem", "TensorListStack", "TensorListGather", "TensorListFromTensor"}
)
# What these make hangs on all the values that they are given.
_UNPACK = frozenset(
    {"DecodeBmp", "DecodeGif", "DecodeImage", "DecodeJpeg", "DecodeAndCropJpeg", "DecodePng"}
    | {"DecodeWebP", "DecodeJxl", "DecodeWav", "DecodeCompressed", "UncompressElement"}
    | {"Where", "Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2", "ListDiff"}
    | {"DynamicPartition", "DynamicStitch", "ParallelDynamicStitch", "MatrixDiagV2"}
    | {"MatrixDiagV3", "RaggedTensorToTensor", "RaggedRange", "RaggedCross", "SparseCross"}
    | {"SparseCrossV2", "SparseCrossHashed", "SparseToDense", "EditDistance", "ScatterNd"}
    | {"ParseTensor"}
)
_ENDS_TRAIL = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
_BEFORE_ARGUMENTS = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}  # inputs of a call


def sized_by_values(reached: Reached, fed: Collection[str]) -> set[str]:
    """Return the operations whose outputs are as large as values of inputs say.

    `fed` are the tensors that requests feed.
    """
    placeholders = {n.name for n in reached.nodes.values() if n.op.startswith("Placeholder")}
    return _Trail(reached.functions).follow(
        reached.nodes.values(), placeholders | set(map(node_of, fed))
    )


class _Trail:
    """Follows values through a graph and the functions that it calls."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = functions
        self._seen: set[tuple[str, frozenset[int]]] = set()

    def follow(self, nodes: Collection[Any], begin: set[str]) -> set[str]:
        """Return the operations among `nodes`, and what they call, that `begin` gives a size."""
        reached = _downstream(nodes, begin)
        found: set[str] = set()
        for node in nodes:
            given = [index for index, name in enumerate(_sources(node)) if name in reached]
            if not given:
                continue
            if node.op in _UNPACK or not _size_inputs(node).isdisjoint(given):
                found.add(node.op)
            found |= self._follow_calls(node, given)
        return found

    def _follow_calls(self, node: Any, given: list[int]) -> set[str]:
        first = _BEFORE_ARGUMENTS.get(node.op, 0)
        arguments = frozenset(index - first for index in given if index >= first)
        found: set[str] = set()
        for function in functions_of(node):
            key = function.name, arguments
            if function.name in self._functions and key not in self._seen:
                self._seen.add(key)
                definition = self._functions[function.name]
                names = [argument.name for argument in definition.signature.input_arg]
                begin = {names[index] for index in arguments if index < len(names)}
                found |= self.follow(definition.node_def, begin)
        return found


def _downstream(nodes: Collection[Any], begin: set[str]) -> set[str]:
    """Return the names of `begin` and of the nodes whose values hang on theirs."""
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for name in _sources(node):
            users.setdefault(name, []).append(node)
    reached, ahead = set(begin), [*begin]
    while ahead:
        for node in users.get(ahead.pop(), ()):
            if node.name not in reached and node.op not in _ENDS_TRAIL:
                reached.add(node.name)
                ahead.append(node.name)
    return reached


def _sources(node: Any) -> Iterator[str]:
    """Yield the nodes or arguments that the inputs of `node` come from, control inputs not."""
    return (node_of(source) for source in node.input if not source.startswith("^"))


def _size_inputs(node: Any) -> set[int]:
    """Return which inputs of `node` say how large an output is."""
    definition = op_def_registry.get(node.op)
    if definition is None or node.op in _NOT_SIZED:
        return set()
    found: set[int] = set()
    index = 0
    for argument in definition.input_arg:
        count = _count(node, argument)
        if _SIZE.search(argument.name):
            found.update(range(index, index + count))
        index += count
    return found


def _count(node: Any, argument: Any) -> int:
    """Return how many inputs an argument of an operation stands for."""
    if argument.number_attr:
        return int(node.attr[argument.number_attr].i)
    if argument.type_list_attr:
        return len(node.attr[argument.type_list_attr].list.type)
    return 1
