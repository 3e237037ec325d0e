"""Arrays -> the body of a JSON predict response.

Row format answers `instances` with `predictions`, columnar format `inputs` with `outputs`.
A string output whose alias ends in `_bytes` is written in base64. NaN and infinities are
written as bare `NaN`, `Infinity`, `-Infinity`, which JSON does not know and clients of
TensorFlow Serving do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from sigrun.errors import InvalidArgument
from sigrun.servables.signature import Array, DType, dtype_of

Outputs = Mapping[str, Array]


def predictions(outputs: Outputs) -> bytes:
    """Return the body in row format: one entry per example, an object if several outputs.

    Raises `InvalidArgument` unless all outputs have the same first dimension.
    """
    _check_not_empty(outputs)
    _check_batch(outputs)
    if len(outputs) == 1:
        ((alias, array),) = outputs.items()
        return _dump({"predictions": _value(alias, array)}, outputs)
    columns = {alias: _value(alias, array) for alias, array in outputs.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return _dump({"predictions": rows}, outputs)


def outputs(outputs: Outputs) -> bytes:
    """Return the body in columnar format: the tensor, or an object of tensors if several."""
    _check_not_empty(outputs)
    values = {alias: _value(alias, array) for alias, array in outputs.items()}
    document = next(iter(values.values())) if len(values) == 1 else values
    return _dump({"outputs": document}, outputs)


def _check_not_empty(outputs: Outputs) -> None:
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")


def _check_batch(outputs: Outputs) -> None:
    expected: int | None = None
    for alias, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(f"Tensor name: {alias} has no shape information ")
        expected = array.shape[0] if expected is None else expected
        if array.shape[0] != expected:
            raise InvalidArgument(
                f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} "
                f"expecting: {expected}"
            )


def _value(alias: str, array: Array) -> Any:
    """Return `array` as something that is written as JSON: itself, or nested lists."""
    dtype = dtype_of(array)
    match dtype:
        case DType.STRING:
            return _strings(alias, array.tolist())
        case DType.COMPLEX64 | DType.COMPLEX128:
            raise InvalidArgument(
                f"Failed to write JSON value for tensor type: {dtype.name.lower()}"
            )
        case DType.BFLOAT16:
            array = array.astype(np.float32)
    # A rank of 0 is a scalar, which numpy gives out by an empty index.
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _strings(alias: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_strings(alias, element) for element in value]
    if alias.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(
            f"Output {alias!r} holds bytes that are not UTF-8 text; give it a name that ends in "
            "_bytes to have it in base64, or ask over gRPC"
        ) from None


def _dump(document: Any, outputs: Outputs) -> bytes:
    if all(map(_is_finite, outputs.values())):
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=_plain, separators=(",", ":")).encode()


def _is_finite(array: Array) -> bool:
    if array.dtype.kind != "f" and array.dtype != DType.BFLOAT16.numpy:
        return True
    return bool(np.isfinite(array).all())


def _plain(value: Any) -> Any:
    """Return numpy values as Python's; a float by its shortest text, as orjson writes it."""
    if value.dtype.kind == "f":
        return np.asarray(value).astype("U32").astype(np.float64).tolist()
    return value.tolist()
