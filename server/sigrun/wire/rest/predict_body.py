"""The body of a JSON predict request: its text is read now, its values with the signature.

In: `{"instances": [...]}` (row format, one element per example) or `{"inputs": ...}`
(columnar format, whole tensors). Out: arrays by input. Rules and texts are TensorFlow
Serving's; beyond them, an input with a default may be left out, and a signature that needs
no input can be called without any.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from operator import itemgetter
from typing import Any, assert_never

import numpy as np

from sigrun.concurrency.pace import Pace
from sigrun.errors import InvalidArgument, SigrunError, Unimplemented
from sigrun.tensors.signature import MAX_RANK, Array, DType, Signature, TensorSpec
from sigrun.wire.body import Body
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json import arrays, document
from sigrun.wire.json.arrays import Fault, NotAnArray
from sigrun.wire.json.document import Document, Members
from sigrun.wire.json.lists import LargeList, is_list, parts
from sigrun.wire.json.numbers import Numbers
from sigrun.wire.json.values import excerpt, json_type
from sigrun.wire.rest import values

Shape = tuple[int, ...]
Inputs = dict[str, Array]


class PredictBody:
    """What a body asks for, before its signature is known; made by `read`."""

    __slots__ = ("_document", "cost_s", "is_row", "signature_name")

    def __init__(
        self, document: Document, signature_name: str, *, is_row: bool, cost_s: float
    ) -> None:
        self._document = document
        self.cost_s = cost_s
        self.signature_name = signature_name
        self.is_row = is_row

    def bind(self, signature: Signature, pace: Pace) -> Inputs:
        """Return the inputs in the body; those that the signature has defaults for may be missing.

        Raises `InvalidArgument` unless the body is in one format and its values fit the
        signature, `Unimplemented` for a dtype that JSON cannot carry.
        """
        return self._document.convert(functools.partial(_bind, signature, pace), pace)


def read(text: Body, pace: Pace) -> PredictBody:
    """Read a predict body. Raises `InvalidArgument` unless it is an object that names its target.

    What is wrong with its values is said when they are bound.
    """
    found = document.read(text, pace)
    name, is_row = found.convert(_target, pace)
    return PredictBody(found, name, is_row=is_row, cost_s=document.cost_s(text))


def _target(members: Members) -> tuple[str, bool]:
    return values.signature_name(members), "instances" in members


def _bind(signature: Signature, pace: Pace, members: Members) -> Inputs:
    if "instances" in members:
        instances = _instances(members)
        _check_has_inputs(signature, members)
        return _row_inputs(instances, signature, pace)
    if "inputs" in members:
        if not isinstance(members["inputs"], dict):
            _check_has_inputs(signature, members)
        return _columnar_inputs(members["inputs"], signature, pace)
    if signature.inputs.keys() <= signature.defaults.keys():
        return {}
    raise InvalidArgument("Missing 'inputs' or 'instances' key")


def _check_has_inputs(signature: Signature, members: Members) -> None:
    if not signature.inputs:
        name = members.get("signature_name") or "DEFAULT"
        raise InvalidArgument(f"Failed to get input map for signature: {name}")


def _instances(members: Members) -> list[Any] | LargeList | Numbers:
    instances = members["instances"]
    if "inputs" in members:
        raise InvalidArgument(
            f"JSON Value: {excerpt(members)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if isinstance(instances, Numbers):
        return instances
    if not is_list(instances):
        raise InvalidArgument(
            f"JSON Value: {excerpt(members)} Expecting 'instances' to be an list/array"
        )
    if not instances:
        raise InvalidArgument(f"JSON Value: {excerpt(members)} No values in 'instances' array")
    return instances


def _only_input(signature: Signature) -> str | None:
    """Return the input that a value without a name is for, or None if it could be several."""
    aliases: Collection[str] = signature.inputs
    if len(aliases) > 1 and signature.defaults:
        aliases = signature.inputs.keys() - signature.defaults.keys()
    return next(iter(aliases)) if len(aliases) == 1 else None


def _is_named(value: Any, signature: Signature, only: str | None) -> bool:
    """Return whether `value` is an object of inputs by name; else it is that of the only one."""
    if not isinstance(value, dict):
        return False
    return only is None or not _stands_for_bytes(value, signature.inputs[only])


def _stands_for_bytes(value: Any, spec: TensorSpec) -> bool:
    return spec.dtype is DType.STRING and values.is_base64(value)


def _columnar_inputs(value: Any, signature: Signature, pace: Pace) -> Inputs:
    specs = signature.inputs
    only = _only_input(signature)
    if not _is_named(value, signature, only):
        if only is None:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        return {only: _tensor(value, specs[only], pace)}
    for alias in specs:
        if alias not in value and alias not in signature.defaults:
            raise InvalidArgument(f"Missing named input: {alias} in 'inputs' object.")
    return {
        alias: _tensor(value[alias], spec, pace) for alias, spec in specs.items() if alias in value
    }


def _tensor(value: Any, spec: TensorSpec, pace: Pace, max_rank: int = MAX_RANK) -> Array:
    try:
        return arrays.array(value, spec.dtype, pace, values.from_base64, max_rank=max_rank)
    except NotAnArray as error:
        raise _refusal(error, spec.dtype) from None


def _row_inputs(
    instances: list[Any] | LargeList | Numbers, signature: Signature, pace: Pace
) -> Inputs:
    only = _only_input(signature)
    if only is not None and not isinstance(instances, LargeList):
        # All rows of one input, if they are right, are one tensor.
        try:
            return {only: _fast(instances, signature.inputs[only], pace)}
        except (NotOnFastPath, SigrunError):
            pass
    if isinstance(instances, Numbers):
        raise NotOnFastPath
    first = next(iter(instances))
    aliases: Collection[str]
    if is_named := _is_named(first, signature, only):
        aliases = _aliases_of_rows(first, signature)
    elif only is not None:
        aliases = (only,)
    else:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    specs = {alias: signature.inputs[alias] for alias in aliases}
    rows = _Rows(specs, pace, is_named=is_named)
    for part in parts(instances, pace):
        rows.take(part)
    return rows.inputs()


def _aliases_of_rows(first: Mapping[str, Any], signature: Signature) -> Collection[str]:
    """Return the inputs that every row must have: those of the first, if it has enough."""
    every = signature.inputs.keys()
    is_enough = every - signature.defaults.keys() <= first.keys() <= every
    return first.keys() if is_enough else every


class _Rows:
    """Gathers rows into one tensor for each input.

    All rows must have these inputs, and each input one shape. A part of the rows is taken at
    once if all of it is right; else row by row, which finds out what is wrong.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], pace: Pace, *, is_named: bool) -> None:
        self._specs = specs
        self._pace = pace
        self._is_named = is_named
        self._count = 0
        self._shapes: dict[str, Shape] = {}  # of one row
        self._arrays: dict[str, list[Array]] = {alias: [] for alias in specs}

    def take(self, rows: list[Any]) -> None:
        """Take some rows. Raises `InvalidArgument` for one that does not fit."""
        try:
            columns = self._columns(rows)
            tensors = {
                alias: _fast(columns[alias], s, self._pace) for alias, s in self._specs.items()
            }
            for alias, tensor in tensors.items():
                if tensor.shape[1:] != self._shapes.setdefault(alias, tensor.shape[1:]):
                    raise NotOnFastPath
        except (NotOnFastPath, SigrunError):
            for row in rows:
                self._take_row(row)
            return
        self._count += len(rows)
        for alias, tensor in tensors.items():
            self._arrays[alias].append(tensor)

    def inputs(self) -> Inputs:
        """Return the tensors."""
        return {
            alias: arrays.concatenated(some, self._pace) for alias, some in self._arrays.items()
        }

    def _columns(self, rows: list[Any]) -> Mapping[str, list[Any]]:
        """Return the values by input. Raises `NotOnFastPath` unless each row has just these."""
        if not self._is_named:
            return dict.fromkeys(self._specs, rows)
        if set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(self._specs)}:
            raise NotOnFastPath
        try:
            return {alias: list(map(itemgetter(alias), rows)) for alias in self._specs}
        except KeyError:
            raise NotOnFastPath from None

    def _take_row(self, row: Any) -> None:
        index = self._count
        if not self._is_named:
            ((alias, spec),) = self._specs.items()
            if isinstance(row, dict) and not _stands_for_bytes(row, spec):
                raise InvalidArgument(
                    f"Expecting value/list but got object at item {index} of input list"
                )
            self._take_value(alias, row, f"element: {index}")
        elif not isinstance(row, dict):
            raise InvalidArgument(f"Expecting object but got list at item {index} of input list")
        elif row.keys() != self._specs.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{excerpt(row)} keys must be equal to: {','.join(sorted(self._specs))}"
            )
        else:
            for alias in self._specs:
                self._take_value(alias, row[alias], f"element: {index} key: {alias}")
        self._count += 1

    def _take_value(self, alias: str, value: Any, place: str) -> None:
        try:
            # One level is for the rows.
            tensor = _tensor(value, self._specs[alias], self._pace, MAX_RANK - 1)
            _check_shape(tensor.shape, self._shapes.setdefault(alias, tensor.shape))
        except SigrunError as error:
            raise InvalidArgument(
                f"Failed to process {place} of 'instances' list. Error: {error.code.name}: {error}"
            ) from None
        self._arrays[alias].append(tensor[np.newaxis])


def _fast(value: Any, spec: TensorSpec, pace: Pace) -> Array:
    return arrays.fast(value, spec.dtype, pace, values.from_base64)


def _check_shape(shape: Shape, expected: Shape) -> None:
    size, expected_size = math.prod(shape), math.prod(expected)
    if size != expected_size:
        raise InvalidArgument(f"Expecting tensor size: {expected_size} but got: {size}")
    if shape != expected:
        raise InvalidArgument(f"Expecting shape {_text(expected)} but got: {_text(shape)}")


def _refusal(error: NotAnArray, dtype: DType | None) -> SigrunError:
    """Return what TensorFlow Serving says of a value; it counts some levels from 1."""
    value, level, expected = error.value, error.level, error.expected
    match error.fault:
        case Fault.WRONG_TYPE:
            text = (
                f"JSON Value: {excerpt(value)} Type: {json_type(value)} "
                f"is not of expected type: {_type_name(dtype)}"
            )
        case Fault.NO_JSON_FORM:
            return Unimplemented(
                f"Conversion of JSON Value: {excerpt(value)} to type: {_type_name(dtype)}"
            )
        case Fault.VALUE_TOO_HIGH:
            text = (
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} "
                f"in the JSON DOM. Expected at level: {expected}"
            )
        case Fault.LIST_TOO_DEEP:
            text = f"Encountered list at unexpected level: {level} expected < {expected}"
        case Fault.WRONG_SIZE:
            text = (
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {expected}"
            )
        case Fault.TOO_MANY_LEVELS:
            text = f"Lists are nested deeper than {expected} levels"
        case _:
            assert_never(error.fault)
    return InvalidArgument(text)


def _type_name(dtype: DType | None) -> str:
    return "unknown" if dtype is None else dtype.name.lower()


def _text(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
