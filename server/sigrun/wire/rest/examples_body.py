"""The body of a JSON classify or regress request -> serialized `tf.Example`s.

In: `{"examples": [{"age": 24, "name": "ann"}, ...], "context": {...}}`. A string or base64
object is bytes, an integer literal or a bool is int64, another number is float; a list holds
one of them. Rules and texts are TensorFlow Serving's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun._gen.tensorflow.core.example.feature_pb2 import (
    BytesList,
    Feature,
    Features,
    FloatList,
    Int64List,
)
from sigrun.concurrency.pace import Pace
from sigrun.errors import InvalidArgument
from sigrun.tensors.signature import Array
from sigrun.wire.body import Body
from sigrun.wire.json import document
from sigrun.wire.json.document import Members
from sigrun.wire.json.lists import LargeList, is_list, parts
from sigrun.wire.json.values import excerpt, json_type
from sigrun.wire.protobuf.codec import check_context
from sigrun.wire.rest import values

_EXAMPLES, _CONTEXT = "examples", "context"
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class ExamplesBody:
    """What a body asks for. `examples` is a vector of serialized `tf.Example` bytes."""

    signature_name: str
    examples: Array


def read(text: Body, pace: Pace) -> ExamplesBody:
    """Read a classify or regress body. Raises `InvalidArgument` for what is wrong in it.

    The context is put in front of each example, as it is for requests over gRPC.
    """
    members = document.read_values(text, pace)
    name = values.signature_name(members)
    context = _serialized(members[_CONTEXT], pace) if _CONTEXT in members else b""
    elements = _elements(members)
    check_context(context, len(elements), len(text))
    examples = np.empty(len(elements), object)
    index = 0
    for part in parts(elements, pace):
        for element in part:
            examples[index] = context + _serialized(element, pace)
            index += 1
    return ExamplesBody(name, examples)


def _elements(members: Members) -> list[Any] | LargeList:
    if _EXAMPLES not in members:
        raise InvalidArgument(
            f"JSON Value: {excerpt(members)} When method is classify, key 'examples' is "
            "expected and was not found"
        )
    elements = members[_EXAMPLES]
    if not is_list(elements):
        raise InvalidArgument(
            f"JSON Value: {excerpt(members)} Expecting 'examples' value to be an list/array"
        )
    if not elements:
        raise InvalidArgument(f"JSON Value: {excerpt(members)} 'examples' value is an empty array")
    return elements


def _serialized(value: Any, pace: Pace) -> bytes:
    if not isinstance(value, dict):
        raise InvalidArgument(f"Example must be JSON object but got JSON {json_type(value)}")
    features = {
        name: _feature(name, list(element) if is_list(element) else [element], pace)
        for name, element in value.items()
    }
    return Example(features=Features(feature=features)).SerializeToString()


def _feature(name: str, elements: list[Any], pace: Pace) -> Feature:
    match _common_kind(name, elements):
        case "bytes":
            return Feature(
                bytes_list=BytesList(value=[_bytes(element, pace) for element in elements])
            )
        case "int64":
            return Feature(int64_list=Int64List(value=map(int, elements)))
        case "float":
            return Feature(float_list=FloatList(value=elements))
        case _:
            return Feature()


def _common_kind(name: str, elements: list[Any]) -> str:
    """Return what list the elements go into, "" if there are none."""
    if set(map(type, elements)) == {float}:
        return "float"
    common = ""
    for element in elements:
        kind = _kind(name, element)
        if common and kind != common:
            raise InvalidArgument(
                f"Unexpected element type in feature: {name} expecting type: {common}"
            )
        common = kind
    return common


def _kind(name: str, element: Any) -> str:
    """Return what list an element goes into. Raises `InvalidArgument` if it fits none."""
    if isinstance(element, float):
        return "float"
    if isinstance(element, int):
        if element not in _INT64:
            raise InvalidArgument(
                f"Feature: {name} has uint64_t element. Only int64_t is supported."
            )
        return "int64"
    if isinstance(element, str) or values.is_base64(element):
        return "bytes"
    raise InvalidArgument(
        f"Feature: {name} has element with unexpected JSON type: {json_type(element)}"
    )


def _bytes(element: Any, pace: Pace) -> bytes:
    return element.encode() if isinstance(element, str) else values.from_base64(element, pace)
