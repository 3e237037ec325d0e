"""The body of a JSON predict request -> arrays, by the dtypes of the signature.

In: `{"instances": [...]}` (row format, one element per example) or `{"inputs": ...}`
(columnar format, whole tensors). The nesting of the lists is the shape. Rules and texts
are TensorFlow Serving's.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from sigrun.errors import InvalidArgument, SigrunError, Unimplemented
from sigrun.servables.signature import MAX_RANK, Array, DType, Signature, TensorSpec

_EXCERPT_CHARACTERS = 256
_B64 = "b64"

# A string, closed or not, whose inside is left alone; or a number that JSON does not have.
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|(-?)(NaN|Inf(?:inity)?)', re.DOTALL)
_MAX_INTEGER_DIGITS = 20  # of what fits in 64 bits, the sign counted

Document = Mapping[str, Any]
Shape = tuple[int, ...]


def predict_document(body: bytes) -> Document:
    """Parse a predict body. Raises `InvalidArgument` unless it is an object in one format."""
    document = _parse(body)
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {excerpt(document)} Is not object")
    if "inputs" in document and "instances" in document:
        raise InvalidArgument(
            f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        _check_instances(document)
    elif "inputs" not in document:
        raise InvalidArgument("Missing 'inputs' or 'instances' key")
    return document


def _parse(body: bytes) -> Any:
    if not body:
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Inf" not in body:
            raise _parse_error(error) from None
    return _parse_with_non_finite(body)


def _parse_with_non_finite(body: bytes) -> Any:
    """Parse a body that is JSON but for NaN, Inf and Infinity, as TensorFlow Serving does."""
    try:
        # With zeros of the same length in their place the rest must be JSON, mistakes are
        # found where they are, and strings are known to be text.
        orjson.loads(_STRING_OR_NUMBER.sub(_as_zero, body))
        spelled = _STRING_OR_NUMBER.sub(_as_python_spells_it, body)
        return json.loads(spelled.decode(), parse_int=_integer)
    except json.JSONDecodeError as error:
        raise _parse_error(error) from None
    except RecursionError:
        raise InvalidArgument("JSON Parse error: The document is nested too deep") from None


def _as_zero(match: re.Match[bytes]) -> bytes:
    if match[2] is None:
        return match[0]
    return match[1] + b"0.".ljust(len(match[2]), b"0")


def _as_python_spells_it(match: re.Match[bytes]) -> bytes:
    if match[2] is None:
        return match[0]
    return b"NaN" if match[2] == b"NaN" else match[1] + b"Infinity"


def _integer(text: str) -> float:
    return int(text) if len(text) <= _MAX_INTEGER_DIGITS else float(text)


def _parse_error(error: json.JSONDecodeError) -> InvalidArgument:
    return InvalidArgument(f"JSON Parse error: {error.msg} at offset: {error.pos}")


def _check_instances(document: Document) -> None:
    instances = document["instances"]
    if not isinstance(instances, list):
        raise InvalidArgument(
            f"JSON Value: {excerpt(document)} Expecting 'instances' to be an list/array"
        )
    if not instances:
        raise InvalidArgument(f"JSON Value: {excerpt(document)} No values in 'instances' array")


def predict_inputs(document: Document, signature: Signature) -> dict[str, Array]:
    """Return the inputs that a parsed predict body holds.

    Raises `InvalidArgument` for values that do not fit the signature, `Unimplemented` for
    a dtype that JSON cannot carry.
    """
    if not signature.inputs:
        raise InvalidArgument(f"Failed to get input map for signature: {signature.name}")
    if "instances" in document:
        return _row_inputs(document["instances"], signature.inputs)
    return _columnar_inputs(document["inputs"], signature.inputs)


def _columnar_inputs(value: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    is_named = isinstance(value, dict)
    if len(specs) == 1:
        ((alias, spec),) = specs.items()
        if not is_named or _is_base64(value, spec):
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


def _row_inputs(instances: Sequence[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
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
        if isinstance(element, dict) and not _is_base64(element, spec):
            raise InvalidArgument(
                f"Expecting value/list but got object at item {index} of input list"
            )
        rows.add(element, f"element: {index} of 'instances' list.")
    return {alias: rows.array()}


def _are_named(first: Any, specs: Mapping[str, TensorSpec]) -> bool:
    if not isinstance(first, dict):
        return False
    return len(specs) > 1 or not _is_base64(first, next(iter(specs.values())))


def _named_rows(instances: Sequence[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
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


class _Rows:
    """Gathers the elements of one input, which must all have the shape of the first."""

    def __init__(self, spec: TensorSpec) -> None:
        self._dtype, self._convert = _conversion(spec)
        self._shape: Shape | None = None
        self._values: list[Any] = []
        self._count = 0

    def add(self, element: Any, place: str) -> None:
        """Take one element; `place` says in an error which one it is."""
        try:
            shape = _shape_of(element, max_rank=MAX_RANK - 1)  # one is for the batch
            _flatten(element, 0, shape, self._convert, self._values)
            self._check(shape)
        except SigrunError as error:
            raise InvalidArgument(
                f"Failed to process {place} Error: {error.code.name}: {error}"
            ) from None
        self._count += 1

    def array(self) -> Array:
        """Return all elements as one tensor."""
        return _array(self._values, self._dtype, (self._count, *(self._shape or ())))

    def _check(self, shape: Shape) -> None:
        expected = self._shape = self._shape if self._shape is not None else shape
        if math.prod(shape) != math.prod(expected):
            raise InvalidArgument(
                f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}"
            )
        if shape != expected:
            raise InvalidArgument(f"Expecting shape {_text(expected)} but got: {_text(shape)}")


def tensor(value: Any, spec: TensorSpec) -> Array:
    """Return one whole tensor: `value` is a scalar or nested lists of even length.

    Raises `InvalidArgument` for ragged lists and for elements of another type.
    """
    dtype, convert = _conversion(spec)
    shape = _shape_of(value)
    values: list[Any] = []
    _flatten(value, 0, shape, convert, values)
    return _array(values, dtype, shape)


def _shape_of(value: Any, max_rank: int = MAX_RANK) -> Shape:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
        if len(shape) > max_rank:
            raise InvalidArgument(f"Lists are nested deeper than {max_rank} levels")
    return tuple(shape)


def _flatten(
    value: Any, level: int, shape: Shape, convert: Callable[[Any], Any], values: list[Any]
) -> None:
    """Append the converted elements of `value` to `values`, checking it against `shape`."""
    if not isinstance(value, list):
        if level != len(shape):
            raise InvalidArgument(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the "
                f"JSON DOM. Expected at level: {len(shape) + 1}"
            )
        values.append(convert(value))
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
    for element in value:
        _flatten(element, level + 1, shape, convert, values)


def _array(values: list[Any], dtype: DType, shape: Shape) -> Array:
    if dtype is DType.STRING:
        array: Array = np.empty(len(values), object)
        array[:] = values
        return array.reshape(shape)
    with np.errstate(over="ignore"):  # beyond the range of float is infinity
        return np.array(values, dtype.numpy).reshape(shape)


def _conversion(spec: TensorSpec) -> tuple[DType, Callable[[Any], Any]]:
    """Return the dtype of `spec` and what turns one JSON value into an element of it."""
    match spec.dtype:
        case DType.FLOAT | DType.DOUBLE | DType.HALF | DType.BFLOAT16 as dtype:
            return dtype, _float_conversion(dtype)
        case DType.BOOL as dtype:
            return dtype, _bool
        case DType.STRING as dtype:
            return dtype, _bytes
        case None | DType.COMPLEX64 | DType.COMPLEX128:
            name = "unknown" if spec.dtype is None else _type_name(spec.dtype)
            raise Unimplemented(f"Conversion of JSON Value to type: {name}")
        case dtype:
            return dtype, _int_conversion(dtype)


def _float_conversion(dtype: DType) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if type(value) is float:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                pass
        raise _wrong_type(value, dtype)

    return convert


def _int_conversion(dtype: DType) -> Callable[[Any], int]:
    limits = np.iinfo(dtype.numpy)
    lowest, highest = int(limits.min), int(limits.max)

    def convert(value: Any) -> int:
        if type(value) is int and lowest <= value <= highest:
            return value
        raise _wrong_type(value, dtype)

    return convert


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong_type(value, DType.BOOL)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict):
        raise _wrong_type(value, DType.STRING)
    if value.keys() != {_B64} or not isinstance(value[_B64], str):
        raise InvalidArgument(
            f"JSON Value: {excerpt(value)} not formatted correctly for base64 data"
        )
    try:
        padding = "=" * (-len(value[_B64]) % 4)
        return base64.b64decode(value[_B64] + padding, validate=True)
    except ValueError:
        raise InvalidArgument("Unable to base64 decode") from None


def _is_base64(value: Any, spec: TensorSpec) -> bool:
    return (
        spec.dtype is DType.STRING
        and isinstance(value, dict)
        and value.keys() == {_B64}
        and isinstance(value[_B64], str)
    )


def _wrong_type(value: Any, dtype: DType) -> InvalidArgument:
    return InvalidArgument(
        f"JSON Value: {excerpt(value)} Type: {_json_type(value)} "
        f"is not of expected type: {_type_name(dtype)}"
    )


def _type_name(dtype: DType) -> str:
    return dtype.name.lower()


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "Null"
        case bool():
            return str(value)
        case str():
            return "String"
        case list():
            return "Array"
        case dict():
            return "Object"
        case _:
            return "Number"


def _text(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def excerpt(value: Any) -> str:
    """Return the beginning of `value` as JSON text, for an error message."""
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece
        if len(text) > _EXCERPT_CHARACTERS:  # the rest may be megabytes, or nested too deep
            return text[:_EXCERPT_CHARACTERS] + "..."
    return text
