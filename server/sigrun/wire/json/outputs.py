"""Arrays -> the body of a JSON response.

Row format answers `instances` with `predictions`, columnar format `inputs` with `outputs`.
A string output whose alias ends in `_bytes` is written in base64. NaN and infinities are
written as bare `NaN`, `Infinity`, `-Infinity`, which JSON does not know and clients of
TensorFlow Serving do. Classify and regress answer with `results`. Large outputs are written
in slices.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from sigrun.concurrency.pace import SLICE_BYTES, Pace, give_way, keep_on
from sigrun.errors import InvalidArgument
from sigrun.inference.calls import Classifications
from sigrun.tensors.signature import Array, DType, dtype_of

Outputs = Mapping[str, Array]

_CLASSES_AT_ONCE = 4096


_S_PER_BYTE = 6e-9


def predictions(outputs: Outputs, pace: Pace = keep_on) -> bytes:
    """Return the body in row format: one entry per example, an object if several outputs.

    Raises `InvalidArgument` unless all outputs have the same first dimension.
    """
    _check_not_empty(outputs)
    _check_batch(outputs)
    values = {alias: _value(alias, array) for alias, array in outputs.items()}
    if len(values) == 1:
        rows = _text(next(iter(values.values())))
    else:
        rows = _row_objects(values, sum(map(_size, outputs.values())))
    return b"".join((b'{"predictions":', *rows, b"}"))


def outputs(outputs: Outputs, pace: Pace = keep_on) -> bytes:
    """Return the body in columnar format: the tensor, or an object of tensors if several."""
    _check_not_empty(outputs)
    values = {alias: _value(alias, array) for alias, array in outputs.items()}
    if len(values) == 1:
        return b"".join((b'{"outputs":', *_text(next(iter(values.values()))), b"}"))
    pieces: list[bytes] = []
    for alias, value in values.items():
        pieces += (b"," if pieces else b"{", orjson.dumps(alias), b":", *_text(value))
    return b"".join((b'{"outputs":', *pieces, b"}}"))


def classifications(found: Classifications) -> bytes:
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
            give_way()
    return b'{"results":[' + b",".join(parts) + b"]}"


def regressions(values: Array) -> bytes:
    """Return the answer to regress: a number for each example."""
    if not values.size:
        raise InvalidArgument("Cannot convert empty RegressionResults to JSON")
    return b"".join((b'{"results":', *_text(np.ascontiguousarray(values)), b"}"))


def cost_s(outputs: Outputs) -> float:
    """Return the time that writing these will take."""
    return sum(map(_size, outputs.values())) * _S_PER_BYTE


def _size(array: Array) -> int:
    if array.dtype != object or array.nbytes > SLICE_BYTES:
        return array.nbytes
    return sum(map(len, array.flat))


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


def _text(value: Any) -> Iterator[bytes]:
    """Yield the JSON text of one tensor; a large one in slices, others may run between them."""
    if not isinstance(value, np.ndarray) or value.nbytes <= SLICE_BYTES:
        yield _dump(value, value)
        return
    step = max(1, SLICE_BYTES * len(value) // value.nbytes)
    for start in range(0, len(value), step):
        yield b"," if start else b"["
        if step == 1 and value.ndim > 1:
            yield from _text(value[start])
        else:
            part = value[start : start + step]
            yield _dump(part, part)[1:-1]
        give_way()
    yield b"]"


def _row_objects(columns: Mapping[str, Sequence[Any]], total_bytes: int) -> Iterator[bytes]:
    """Yield the list of rows, each an object of its values by alias."""
    count = len(next(iter(columns.values())))
    step = max(1, SLICE_BYTES * count // max(total_bytes, 1))
    yield b"["
    for start in range(0, count, step):
        parts = [column[start : start + step] for column in columns.values()]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*parts, strict=True)]
        yield (b"," if start else b"") + _dump(rows, *parts)[1:-1]
        if start + step < count:
            give_way()
    yield b"]"


def _dump(value: Any, *parts: Any) -> bytes:
    """Return the text of `value`, which is made of `parts`."""
    if all(map(_is_finite, parts)):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, default=_plain, separators=(",", ":")).encode()


def _is_finite(value: Any) -> bool:
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind != "f":
        return True
    return bool(np.isfinite(value).all())


def _plain(value: Any) -> Any:
    """Return numpy values as Python's; a float by its shortest text, as orjson writes it."""
    if value.dtype.kind == "f":
        return np.asarray(value).astype("U32").astype(np.float64).tolist()
    return value.tolist()
