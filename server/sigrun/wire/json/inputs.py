"""The body of a JSON predict request -> arrays, by the dtypes of the signature.

In: `{"instances": [...]}` (row format, one element per example) or `{"inputs": ...}`
(columnar format, whole tensors). The nesting of the lists is the shape. Rules and texts
are TensorFlow Serving's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sigrun.concurrency.pace import give_way
from sigrun.errors import InvalidArgument, SigrunError, Unimplemented
from sigrun.tensors.signature import MAX_RANK, Array, DType, Signature, TensorSpec
from sigrun.wire.body import Body
from sigrun.wire.json import slices
from sigrun.wire.json.lists import LargeList, is_list, parts
from sigrun.wire.json.numbers import FLOATS, INTEGERS, Numbers
from sigrun.wire.json.syntax import Doubt, excerpt
from sigrun.wire.json.values import (
    Document,
    check_object,
    from_base64,
    is_base64,
    json_type,
)

Shape = tuple[int, ...]

_VALUES_AT_ONCE = 4096


def predict_document(body: Body) -> Document:
    """Parse a predict body. Raises `InvalidArgument` unless it is an object."""
    return check_object(slices.parse(body))


def predict_inputs(document: Document, signature: Signature) -> dict[str, Array]:
    """Return the inputs that a parsed predict body holds.

    Raises `InvalidArgument` unless it is in one format and its values fit the signature,
    `Unimplemented` for a dtype that JSON cannot carry.
    """
    if not signature.inputs:
        name = document.get("signature_name") or "DEFAULT"
        raise InvalidArgument(f"Failed to get input map for signature: {name}")
    _check_format(document)
    if "instances" in document:
        return _row_inputs(document["instances"], signature.inputs)
    return _columnar_inputs(document["inputs"], signature.inputs)


def _check_format(document: Document) -> None:
    if "inputs" in document and "instances" in document:
        raise InvalidArgument(
            f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        _check_instances(document)
    elif "inputs" not in document:
        raise InvalidArgument("Missing 'inputs' or 'instances' key")


def _check_instances(document: Document) -> None:
    instances = document["instances"]
    if isinstance(instances, Numbers):
        return
    if not is_list(instances):
        raise InvalidArgument(
            f"JSON Value: {excerpt(document)} Expecting 'instances' to be an list/array"
        )
    if not instances:
        raise InvalidArgument(f"JSON Value: {excerpt(document)} No values in 'instances' array")


def _columnar_inputs(value: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    is_named = isinstance(value, dict)
    if len(specs) == 1:
        ((alias, spec),) = specs.items()
        if not is_named or _stands_for_bytes(value, spec):
            return {alias: tensor(value, spec)}
    elif not is_named:
        raise InvalidArgument(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map"
        )
    for alias in specs:
        if alias not in value:
            raise InvalidArgument(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: tensor(value[alias], spec) for alias, spec in specs.items()}


def _row_inputs(
    instances: list[Any] | LargeList | Numbers, specs: Mapping[str, TensorSpec]
) -> dict[str, Array]:
    if isinstance(instances, Numbers):
        if len(specs) > 1:
            raise Doubt
        return {alias: instances.array(_dtype(spec)) for alias, spec in specs.items()}
    if _are_named(instances[0], specs):
        return _named_rows(instances, specs)
    if len(specs) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    ((alias, spec),) = specs.items()
    rows = _Rows(spec)
    for index, element in enumerate(instances):
        if isinstance(element, dict) and not _stands_for_bytes(element, spec):
            raise InvalidArgument(
                f"Expecting value/list but got object at item {index} of input list"
            )
        rows.add(element, f"element: {index} of 'instances' list.")
    return {alias: rows.array()}


def _are_named(first: Any, specs: Mapping[str, TensorSpec]) -> bool:
    if not isinstance(first, dict):
        return False
    return len(specs) > 1 or not _stands_for_bytes(first, next(iter(specs.values())))


def _named_rows(
    instances: list[Any] | LargeList, specs: Mapping[str, TensorSpec]
) -> dict[str, Array]:
    rows = {alias: _Rows(spec) for alias, spec in specs.items()}
    for index, element in enumerate(instances):
        if not isinstance(element, dict):
            raise InvalidArgument(f"Expecting object but got list at item {index} of input list")
        if element.keys() != specs.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{excerpt(element)} keys must be equal to: {','.join(sorted(specs))}"
            )
        for alias, column in rows.items():
            column.add(element[alias], f"element: {index} key: {alias} of 'instances' list.")
    return {alias: column.array() for alias, column in rows.items()}


class _Elements:
    """Gathers the elements of one tensor, in arrays of some thousands."""

    def __init__(self, dtype: DType) -> None:
        self.values: list[Any] = []  # after the arrays
        self._dtype = dtype
        self._arrays: list[Array] = []

    def add_array(self, array: Array) -> None:
        self.pack(at_least=1)
        self._arrays.append(array.reshape(-1))

    def pack(self, at_least: int = _VALUES_AT_ONCE) -> None:
        """Put the values into an array if they are many."""
        if len(self.values) >= at_least:
            self._arrays.append(_array(self.values, self._dtype, (len(self.values),)))
            self.values = []

    def array(self, shape: Shape) -> Array:
        """Return all elements as one tensor."""
        if not self._arrays:
            return _array(self.values, self._dtype, shape)
        self.pack(at_least=1)
        if self._dtype is not DType.STRING or len(self._arrays) == 1:
            return np.concatenate(self._arrays).reshape(shape)
        return _strings(self._arrays).reshape(shape)


def _strings(arrays: list[Array]) -> Array:
    """Concatenate arrays of objects, and empty their list; numpy would hold the lock throughout."""
    flat: Array = np.empty(sum(map(len, arrays)), object)
    stop = len(flat)
    while arrays:
        array = arrays.pop()
        flat[stop - len(array) : stop] = array
        stop -= len(array)
        if len(arrays) % 16 == 0:
            give_way()
    return flat


class _Rows:
    """Gathers the elements of one input, which must all have the shape of the first."""

    def __init__(self, spec: TensorSpec) -> None:
        self._conversion = _conversion(spec)
        self._shape: Shape | None = None
        self._elements = _Elements(self._conversion.dtype)
        self._count = 0

    def add(self, element: Any, place: str) -> None:
        """Take one element; `place` says in an error which one it is."""
        try:
            if isinstance(element, Numbers):
                self._add_array(element)
            else:
                shape = _shape_of(element, max_rank=MAX_RANK - 1)  # one is for the batch
                _flatten(element, 0, shape, self._conversion, self._elements)
                self._check(shape)
        except SigrunError as error:
            raise InvalidArgument(
                f"Failed to process {place} Error: {error.code.name}: {error}"
            ) from None
        self._count += 1

    def array(self) -> Array:
        """Return all elements as one tensor."""
        return self._elements.array((self._count, *(self._shape or ())))

    def _add_array(self, element: Numbers) -> None:
        if len(element.shape) >= MAX_RANK:
            raise Doubt
        self._check(element.shape)
        self._elements.add_array(element.array(self._conversion.dtype))

    def _check(self, shape: Shape) -> None:
        expected = self._shape = self._shape if self._shape is not None else shape
        if math.prod(shape) != math.prod(expected):
            raise InvalidArgument(
                f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}"
            )
        if shape != expected:
            raise InvalidArgument(f"Expecting shape {_text(expected)} but got: {_text(shape)}")
        self._elements.pack()


def tensor(value: Any, spec: TensorSpec) -> Array:
    """Return one whole tensor: `value` is a scalar or nested lists of even length.

    Raises `InvalidArgument` for ragged lists and for elements of another type.
    """
    conversion = _conversion(spec)
    if isinstance(value, Numbers):
        return value.array(conversion.dtype)
    shape = _shape_of(value)
    elements = _Elements(conversion.dtype)
    _flatten(value, 0, shape, conversion, elements)
    return elements.array(shape)


def _shape_of(value: Any, max_rank: int = MAX_RANK) -> Shape:
    shape = []
    while is_list(value):
        shape.append(len(value))
        value = value[0] if value else None
        if len(shape) > max_rank:
            raise InvalidArgument(f"Lists are nested deeper than {max_rank} levels")
    return tuple(shape)


def _flatten(
    value: Any, level: int, shape: Shape, conversion: _Conversion, elements: _Elements
) -> None:
    """Append the converted elements of `value` to `elements`, checking it against `shape`."""
    if not is_list(value):
        if level != len(shape):
            raise InvalidArgument(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the "
                f"JSON DOM. Expected at level: {len(shape) + 1}"
            )
        elements.values.append(conversion.convert(value))
        return
    if level >= len(shape):
        raise InvalidArgument(
            f"Encountered list at unexpected level: {level + 1} expected < {len(shape) + 1}"
        )
    if len(value) != shape[level]:
        raise InvalidArgument(
            f"Encountered list at unexpected size: {len(value)} at level: {level + 1} "
            f"expected size: {shape[level]}"
        )
    for part in parts(value):
        if level + 1 == len(shape) and conversion.takes(part):
            elements.values += part
        else:
            for element in part:
                _flatten(element, level + 1, shape, conversion, elements)
        elements.pack()


def _array(values: list[Any], dtype: DType, shape: Shape) -> Array:
    if dtype is DType.STRING:
        array: Array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
    with np.errstate(over="ignore"):  # beyond the range of float is infinity
        return np.array(values, dtype.numpy).reshape(shape)


@dataclass(frozen=True, slots=True)
class _Conversion:
    """How JSON values become elements of `dtype`.

    Values of `plain_types` are elements as they are, integers only between the limits.
    """

    dtype: DType
    convert: Callable[[Any], Any]
    plain_types: frozenset[type] = frozenset()
    limits: tuple[int, int] | None = None

    def takes(self, values: list[Any]) -> bool:
        """Return whether all `values` are elements as they are; False proves nothing."""
        if not self.plain_types.issuperset(map(type, values)):
            return False
        if self.limits is None or not values:
            return True
        lowest, highest = self.limits
        return bool(lowest <= min(values) and max(values) <= highest)


def _conversion(spec: TensorSpec) -> _Conversion:
    """Return how values become elements of `spec`."""
    if spec.dtype is None or spec.dtype not in _CONVERSIONS:
        return _no_conversion(spec.dtype)
    return _CONVERSIONS[spec.dtype]


def _no_conversion(dtype: DType | None) -> _Conversion:
    name = "unknown" if dtype is None else _type_name(dtype)

    def convert(value: Any) -> None:
        raise Unimplemented(f"Conversion of JSON Value: {excerpt(value)} to type: {name}")

    return _Conversion(dtype or DType.STRING, convert)


def _dtype(spec: TensorSpec) -> DType:
    return _conversion(spec).dtype


def _float_conversion(dtype: DType) -> _Conversion:
    def convert(value: Any) -> float:
        if type(value) is float:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                pass
        raise _wrong_type(value, dtype)

    return _Conversion(dtype, convert, frozenset([float]))


def _int_conversion(dtype: DType) -> _Conversion:
    limits = np.iinfo(dtype.numpy)
    lowest, highest = int(limits.min), int(limits.max)

    def convert(value: Any) -> int:
        if type(value) is int and lowest <= value <= highest:
            return value
        raise _wrong_type(value, dtype)

    return _Conversion(dtype, convert, frozenset([int]), (lowest, highest))


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong_type(value, DType.BOOL)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict):
        raise _wrong_type(value, DType.STRING)
    if not is_base64(value):
        raise InvalidArgument(
            f"JSON Value: {excerpt(value)} not formatted correctly for base64 data"
        )
    return from_base64(value)


def _stands_for_bytes(value: Any, spec: TensorSpec) -> bool:
    return spec.dtype is DType.STRING and is_base64(value)


def _wrong_type(value: Any, dtype: DType) -> InvalidArgument:
    return InvalidArgument(
        f"JSON Value: {excerpt(value)} Type: {json_type(value)} "
        f"is not of expected type: {_type_name(dtype)}"
    )


def _type_name(dtype: DType) -> str:
    return dtype.name.lower()


def _text(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


_CONVERSIONS = {
    DType.BOOL: _Conversion(DType.BOOL, _bool, frozenset([bool])),
    DType.STRING: _Conversion(DType.STRING, _bytes),
    **{dtype: _float_conversion(dtype) for dtype in FLOATS},
    **{dtype: _int_conversion(dtype) for dtype in INTEGERS},
}
