"""Arrays -> the body of a JSON response, which ends with a newline.

Row format answers `instances` with `predictions`, columnar format `inputs` with `outputs`.
A string output whose alias ends in `_bytes` is written in base64. NaN and infinities are
written as bare `NaN`, `Infinity`, `-Infinity`, which JSON does not know and clients of
TensorFlow Serving do. Classify and regress answer with `results`. Large outputs are written
in slices.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from sigrun.concurrency.pace import SLICE_BYTES, Pace
from sigrun.errors import InvalidArgument
from sigrun.inference.calls import Classifications
from sigrun.tensors.signature import Array, DType, dtype_of

Outputs = Mapping[str, Array]

_CLASSES_AT_ONCE = 4096
_STRING_BYTES = 128  # for how many one string counts; they are many, seldom long

# Measured by benchmarks/json_costs.py.
_S_PER_INTEGER = 30e-9
_S_PER_FLOAT = 90e-9
_S_PER_STRING = 400e-9
_S_PER_STRING_BYTE = 2e-9
_S_PER_CLASS = 500e-9
_FEW_STRINGS = 512

# Arrays that orjson writes as they are.
_PLAIN_DTYPES = frozenset(
    dtype.numpy
    for dtype in DType
    if dtype not in (DType.STRING, DType.COMPLEX64, DType.COMPLEX128, DType.BFLOAT16)
)
_NULL = b"null"  # what orjson writes for NaN and infinities
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def predictions(outputs: Outputs, pace: Pace) -> bytes:
    """Return the body in row format: one entry per example, an object if several outputs.

    Raises `InvalidArgument` unless all outputs have the same first dimension.
    """
    if (text := _small_array("predictions", outputs)) is not None:
        return text
    _check_not_empty(outputs)
    _check_batch(outputs)
    columns = {alias: _writable(array) for alias, array in outputs.items()}
    if len(columns) == 1:
        ((alias, array),) = columns.items()
        rows = _text(alias, array, pace)
    else:
        rows = _row_objects(columns, pace)
    return b"".join((b'{"predictions":', *rows, b"}\n"))


def outputs(outputs: Outputs, pace: Pace) -> bytes:
    """Return the body in columnar format: the tensor, or an object of tensors if several."""
    if (text := _small_array("outputs", outputs)) is not None:
        return text
    _check_not_empty(outputs)
    pieces: list[bytes] = []
    for alias, array in outputs.items():
        if len(outputs) > 1:
            pieces += (b"," if pieces else b"{", orjson.dumps(alias), b":")
        pieces += _text(alias, _writable(array), pace)
    return b"".join((b'{"outputs":', *pieces, b"}}\n" if len(outputs) > 1 else b"}\n"))


def classifications(found: Classifications, pace: Pace) -> bytes:
    """Return the answer to classify: for each example a list of `[label, score]`."""
    arrays = [array for array in (found.labels, found.scores) if array is not None]
    shape = arrays[0].shape
    if not shape[0]:
        raise InvalidArgument("Cannot convert empty ClassificationResults to JSON")
    labels = np.full(shape, b"", object) if found.labels is None else found.labels
    scores = np.zeros(shape, np.float32) if found.scores is None else found.scores
    step = max(1, _CLASSES_AT_ONCE // max(shape[1], 1))
    parts = []
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        texts, numbers = _strings("classes", labels[rows].tolist()), scores[rows]
        pairs = [list(zip(*row, strict=True)) for row in zip(texts, numbers, strict=True)]
        parts.append(_dump(pairs, numbers)[1:-1])
        if start + step < shape[0]:
            pace()
    return b'{"results":[' + b",".join(parts) + b"]}\n"


def regressions(values: Array, pace: Pace) -> bytes:
    """Return the answer to regress: a number for each example."""
    if not values.size:
        raise InvalidArgument("Cannot convert empty RegressionResults to JSON")
    return b"".join((b'{"results":', *_text("", np.ascontiguousarray(values), pace), b"}\n"))


def cost_s(outputs: Outputs) -> float:
    """Return the time that writing these will take."""
    return sum(map(_array_cost_s, outputs.values()))


def _array_cost_s(array: Array) -> float:
    kind = array.dtype.kind
    cost_s: float = array.size * (_S_PER_INTEGER if kind in "iub" else _S_PER_FLOAT)
    if kind == "O":
        cost_s = array.size * _S_PER_STRING
        if array.size <= _FEW_STRINGS:  # more take long, whatever their length
            cost_s += sum(map(len, array.ravel())) * _S_PER_STRING_BYTE
    return cost_s


def classes_cost_s(found: Classifications) -> float:
    """Return the time that writing these will take."""
    return max(a.size for a in (found.labels, found.scores) if a is not None) * _S_PER_CLASS


def _small_array(key: str, outputs: Outputs) -> bytes | None:
    """Return the body if there is one small array of finite numbers, the fast path; else None."""
    if len(outputs) != 1:
        return None
    (array,) = outputs.values()
    if array.dtype not in _PLAIN_DTYPES or not array.ndim or array.nbytes > SLICE_BYTES:
        return None
    if not array.flags.c_contiguous:
        return None
    text = orjson.dumps({key: array}, option=_OPTIONS)
    return None if _NULL in text else text


def _size(outputs: Outputs) -> int:
    """Return about how many bytes there are to write."""
    return sum(
        array.size * _STRING_BYTES if array.dtype == object else array.nbytes
        for array in outputs.values()
    )


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


def _writable(array: Array) -> Array:
    """Return `array` as one that is written as it is. Raises for a dtype without JSON form."""
    dtype = dtype_of(array)
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        raise InvalidArgument(f"Failed to write JSON value for tensor type: {dtype.name.lower()}")
    if dtype is DType.BFLOAT16:
        array = array.astype(np.float32)
    # numpy would give a scalar a dimension.
    return np.ascontiguousarray(array) if array.ndim else array


def _value(alias: str, array: Array) -> Any:
    """Return what orjson writes for `array`: itself, a scalar, or texts."""
    if array.dtype == object:
        return _strings(alias, array.tolist())
    return array if array.ndim else array[()]


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


def _text(alias: str, array: Array, pace: Pace) -> Iterator[bytes]:
    """Yield the JSON text of one tensor, a large one in slices."""
    size = array.size * _STRING_BYTES if array.dtype == object else array.nbytes
    if size <= SLICE_BYTES or not array.ndim:
        value = _value(alias, array)
        yield _dump(value, value)
        return
    step = max(1, SLICE_BYTES * len(array) // size)
    for start in range(0, len(array), step):
        yield b"," if start else b"["
        if step == 1 and array.ndim > 1:
            yield from _text(alias, array[start], pace)
        else:
            value = _value(alias, array[start : start + step])
            yield _dump(value, value)[1:-1]
        pace()
    yield b"]"


def _row_objects(columns: Outputs, pace: Pace) -> Iterator[bytes]:
    """Yield the list of rows, each an object of its values by alias."""
    count = len(next(iter(columns.values())))
    step = max(1, SLICE_BYTES * count // max(_size(columns), 1))
    yield b"["
    for start in range(0, count, step):
        parts = [_value(alias, a[start : start + step]) for alias, a in columns.items()]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*parts, strict=True)]
        yield (b"," if start else b"") + _dump(rows, *parts)[1:-1]
        if start + step < count:
            pace()
    yield b"]"


def _dump(value: Any, *parts: Any) -> bytes:
    """Return the text of `value`, which is made of `parts`."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    # A string may have the word in it, too.
    if _NULL in text and not all(map(_is_finite, parts)):
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()
    return text


def _is_finite(value: Any) -> bool:
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind != "f":
        return True
    return bool(np.isfinite(value).all())


def _plain(value: Any) -> Any:
    """Return numpy values as Python's; a float by its shortest text, as orjson writes it."""
    if value.dtype.kind == "f":
        return np.asarray(value).astype("U32").astype(np.float64).tolist()
    return value.tolist()
