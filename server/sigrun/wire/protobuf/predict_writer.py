"""PredictResult -> bytes of a PredictResponse, its arrays appended as they lie in memory.

A PredictRequest is written likewise, for a server upstream. What comes out parses to what
`codec.predict_response` or `client_codec.predict_request` builds; messages are written here
only where that is faster, which is everything but a few integers or short strings, and
strings in `tensor_content`. Headers that repeat from answer to answer are remembered.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.inference.calls import ModelSpec, PredictResult, ResolvedSpec
from sigrun.tensors.signature import Array, DType, dtype_of
from sigrun.wire.protobuf import client_codec, codec, tensors, wire_format

_Pieces = list[bytes | memoryview]

_SMALL_BYTES = 4096  # up to here a copy is cheaper than a view
_FEW_INTEGERS = 150  # times the bytes of the longest: up to here it is protobuf
_SHORT_STRING_BYTES = 4096  # up to here, on average, it is protobuf

# What writing takes: numbers whose memory is the wire form, and all others, one by one.
_S_PER_BYTE_AS_MEMORY = 5e-11
_S_PER_ELEMENT = 25e-9

_AS_MEMORY = frozenset({DType.FLOAT, DType.DOUBLE, DType.COMPLEX64, DType.COMPLEX128, DType.BOOL})
_INPUT = wire_format.tag(PredictRequest, "inputs")
_OUTPUT_FILTER = wire_format.tag(PredictRequest, "output_filter")
_OUTPUT = wire_format.tag(PredictResponse, "outputs")
# Maps are alike: what holds for outputs holds for inputs.
_KEY = wire_format.tag(PredictResponse.OutputsEntry, "key")
_VALUE = wire_format.tag(PredictResponse.OutputsEntry, "value")
_CONTENT = wire_format.tag(TensorProto, "tensor_content")
_TYPED = {dtype: wire_format.tag(TensorProto, tensors.field_of(dtype)) for dtype in DType}
_STRING = _TYPED[DType.STRING]
_SIZES = [wire_format.varint(size) for size in range(1 << 12)]


def predict_response(result: PredictResult, *, as_content: bool) -> bytes:
    """Write the answer to Predict.

    Raises `Unimplemented` for an element type that has no wire form.
    """
    pieces: _Pieces = []
    for alias, array in result.outputs.items():
        pieces += _entry(_OUTPUT, alias, array, as_content=as_content)
    pieces.append(_spec(result.spec))
    return b"".join(pieces)


class _Frame(NamedTuple):
    """An answer but for the values of its only tensor, which stand between the two."""

    head: bytes
    tail: bytes


# Answers of one model are the same, but for the values.
_FRAMES: dict[tuple[ResolvedSpec, str, np.dtype[Any], tuple[int, ...], bool], _Frame] = {}
_MAX_FRAMES = 1024  # then they are all forgotten


def small_predict_response(result: PredictResult, *, as_content: bool) -> bytes | None:
    """Do what `predict_response` does for one small array whose memory is its wire form.

    Returns None for other answers.
    """
    outputs = result.outputs
    if len(outputs) != 1:
        return None
    ((alias, array),) = outputs.items()
    if not 0 < array.nbytes <= _SMALL_BYTES:
        return None
    key = result.spec, alias, array.dtype, array.shape, as_content
    frame = _FRAMES.get(key)
    if frame is None:
        dtype = dtype_of(array)
        if dtype not in _AS_MEMORY:
            return None
        if len(_FRAMES) >= _MAX_FRAMES:
            _FRAMES.clear()
        head = _memory_head(_OUTPUT, alias, dtype, array.shape, as_content)
        frame = _FRAMES[key] = _Frame(head, _spec(result.spec))
    return frame.head + array.tobytes() + frame.tail


def cost_s(arrays: Iterable[Array], *, as_content: bool) -> float:
    """Return the time that writing these arrays, of a request or an answer, will take."""
    total = 0.0
    for array in arrays:
        dtype = dtype_of(array)
        if dtype in _AS_MEMORY or (as_content and dtype is not DType.STRING):
            total += array.nbytes * _S_PER_BYTE_AS_MEMORY
        else:
            total += array.size * _S_PER_ELEMENT
    return total


def predict_request(
    spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str] = ()
) -> bytes:
    """Write a request: strings one by one, all else as content, which is its memory.

    Raises `Unimplemented` for an element type that has no wire form.
    """
    pieces: _Pieces = [_request_spec(spec)]
    for alias, array in inputs.items():
        pieces += _entry(_INPUT, alias, array, as_content=array.dtype != object)
    for alias in output_filter:
        text = alias.encode()
        pieces.append(_OUTPUT_FILTER + _size(len(text)) + text)
    return b"".join(pieces)


@functools.lru_cache(maxsize=1024)
def _request_spec(spec: ModelSpec) -> bytes:
    return PredictRequest(model_spec=client_codec.model_spec(spec)).SerializeToString()


@functools.lru_cache(maxsize=1024)
def _spec(spec: ResolvedSpec) -> bytes:
    return PredictResponse(model_spec=codec.resolved_spec(spec)).SerializeToString()


def _entry(tag: bytes, alias: str, array: Array, *, as_content: bool) -> _Pieces:
    """Return one entry of the map with this tag: its key, its tensor."""
    dtype = dtype_of(array)
    if dtype in _AS_MEMORY and array.size:
        head = _memory_head(tag, alias, dtype, array.shape, as_content)
        if array.nbytes <= _SMALL_BYTES or not array.flags.c_contiguous:
            return [head, array.tobytes()]
        return [head, array.reshape(-1).view(np.uint8).data]
    if as_content and dtype is DType.STRING:
        head = tensors.encode(array, as_content=True).SerializeToString()
        values: _Pieces = []
    else:
        head = _tensor_head(dtype, array.shape)
        values = _values(dtype, array, as_content=as_content)
    tensor_bytes = len(head) + sum(map(len, values))
    key, tensor_size = _key(alias), _size(tensor_bytes)
    entry_size = _size(len(key) + len(_VALUE) + len(tensor_size) + tensor_bytes)
    return [b"".join((tag, entry_size, key, _VALUE, tensor_size, head)), *values]


@functools.lru_cache(maxsize=1024)
def _memory_head(
    tag: bytes, alias: str, dtype: DType, shape: tuple[int, ...], as_content: bool
) -> bytes:
    """Return all of an entry but the values of its tensor, whose memory is their wire form."""
    nbytes = math.prod(shape) * dtype.numpy.itemsize
    values_head = (_CONTENT if as_content else _TYPED[dtype]) + _size(nbytes)
    tensor_head = _tensor_head(dtype, shape) + values_head
    tensor_size, key = _size(len(tensor_head) + nbytes), _key(alias)
    size = len(key) + len(_VALUE) + len(tensor_size) + len(tensor_head) + nbytes
    return b"".join((tag, _size(size), key, _VALUE, tensor_size, tensor_head))


def _size(count: int) -> bytes:
    return _SIZES[count] if count < len(_SIZES) else wire_format.varint(count)


@functools.lru_cache(maxsize=1024)
def _key(alias: str) -> bytes:
    text = alias.encode()
    return _KEY + wire_format.varint(len(text)) + text


@functools.lru_cache(maxsize=1024)
def _tensor_head(dtype: DType, shape: tuple[int, ...]) -> bytes:
    """Return what stands in a tensor before its values."""
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    proto = TensorProto(dtype=dtype.value)  # type: ignore[arg-type]  # an IntEnum is the number
    if dims:
        proto.tensor_shape.dim.extend(dims)
    return proto.SerializeToString()


def _values(dtype: DType, array: Array, *, as_content: bool) -> _Pieces:
    """Return the field that holds the elements; nothing if there are none."""
    if not array.size:
        return []
    if as_content:
        return _memory(_CONTENT, array)
    if dtype is DType.STRING:
        return _strings(array.reshape(-1).tolist())
    values = array.reshape(-1)
    if dtype in (DType.HALF, DType.BFLOAT16):
        values = values.view(np.uint16)
    return _integers(dtype, values)


def _memory(tag: bytes, array: Array) -> _Pieces:
    if array.nbytes <= _SMALL_BYTES or not array.flags.c_contiguous:
        return [tag + _size(array.nbytes) + array.tobytes()]
    return [tag + _size(array.nbytes), array.reshape(-1).view(np.uint8).data]


def _strings(strings: Sequence[bytes]) -> _Pieces:
    total = sum(map(len, strings))
    if total <= _SHORT_STRING_BYTES * len(strings):
        return [TensorProto(string_val=strings).SerializeToString()]
    return [piece for text in strings for piece in (_STRING + _size(len(text)), text)]


def _integers(dtype: DType, values: Array) -> _Pieces:
    """Write packed varints; negative numbers are those of 64 bits that they wrap to."""
    if len(values) > _FEW_INTEGERS:
        words = _as_words(values)
        if len(words) > _FEW_INTEGERS * wire_format.longest_varint(words):
            packed = wire_format.encode_varints(words)
            return [_TYPED[dtype] + _size(len(packed)), packed]
    fields = {tensors.field_of(dtype): values.tolist()}
    return [TensorProto(**fields).SerializeToString()]


def _as_words(values: Array) -> NDArray[np.uint64]:
    if values.dtype.kind == "u":
        return values.astype(np.uint64, copy=False)
    return values.astype(np.int64, copy=False).view(np.uint64)
