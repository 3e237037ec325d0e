"""Bytes of a PredictRequest -> PredictCall, its tensors read in place; an answer likewise.

Theory of operation. `codec.predict_call` on a parsed message is the one definition of what
a request means, the general path. This module is the fast path to the same value. It knows
the one layout that every client library writes, and nothing of errors: on whatever else it
meets, well-formed or not, it raises `NotOnFastPath`. The message is then parsed, and the
general path answers or refuses it. So what is taken here must be right, and nothing else
need be:

    request  :=  (MODEL_SPEC size bytes  |  INPUT size entry  |  OUTPUT_FILTER size text)*
    entry    :=  KEY size text  VALUE size tensor
    tensor   :=  DTYPE number  (SHAPE size bytes)?  values
    values   :=  CONTENT size bytes  |  PACKED size bytes  |  (STRING size bytes)*

An answer, a PredictResponse -> PredictResult, is laid out alike, without a filter.
There is one model spec, and one tensor of a name. Values are those of the tensor's own
dtype and exactly as many as its shape has. Sizes are varints without needless bytes. Many
strings, and strings as content, are left to protobuf too: it is no slower at them.

- Positions only ever grow. A part that runs over the end of its whole is noticed where the
  whole must end exactly, and no value is read before that is known.
- A model spec and a shape are small and repeat from request to request: protobuf reads
  them, and the answers are remembered by their bytes.
- Fixed-size elements are views of the request, which they keep alive; they are read-only
  and need not be aligned. Varints are decoded by the array, a few by protobuf and many by
  `wire_format`.

Everything is decoded at once, before the signature is known, since a request must be known
to be well-formed before anything is looked up for it. What is bound later are the names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
from google.protobuf.message import DecodeError, Message

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec as ModelSpecProto
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.errors import InvalidArgument
from sigrun.inference.calls import Arrays, ModelSpec, PredictCall, PredictResult
from sigrun.inference.context import CallContext
from sigrun.tensors.signature import MAX_RANK, Array, DType
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.protobuf import client_codec, codec, tensors, wire_format
from sigrun.wire.protobuf.parse import parse, parse_answer

_GIVE_UP = (NotOnFastPath, IndexError, KeyError, ValueError, DecodeError)

MAX_FIELDS = 10_000
"""Of a request: refused by number, since to parse a crowd of inputs takes the time of others."""

# More is not remembered, and could nest so deep that a part on its own parses and the whole
# does not.
_MAX_REMEMBERED_BYTES = 128

# To make a NamedTuple by its own name takes twice the time: a function in Python is called for it.
_new = tuple.__new__

# What the general path takes for each byte, from bytes to arrays.
_S_PER_BYTE = 3e-9

# Integers that the fast path reads: they are decoded one by one.
_DECODED_BYTES = 1 << 16

# Up to so many bytes of integers are read by protobuf, which version 7 hands out as an array
# and older ones as a list. Beyond, numpy is the faster one, or lets other threads run.
_FEW_INTEGER_BYTES = _DECODED_BYTES if hasattr(TensorProto().int64_val, "__array__") else 1 << 10
_FEW_STRINGS = 32  # up to here protobuf is slower

# A crowd of names is refused at once on the general path; here, every tensor would be read first.
_MAX_NAMES = 1024


def predict_call(
    body: bytes, context: CallContext, *, default: ModelSpec | None = None
) -> PredictCall:
    """Read the bytes of a Predict request; a large one can take milliseconds.

    `default` is the target of a request without a model spec. Raises `InvalidArgument` if
    they are not one, or there is no target. Tensors that are broken are refused when the
    signature is known.
    """
    try:
        return _predict_call(body, context, _KINDS, default)
    except _GIVE_UP:
        if wire_format.has_more_fields_than(MAX_FIELDS, body):
            raise InvalidArgument(
                f"A request has more than {MAX_FIELDS} inputs and output filters"
            ) from None
        return codec.predict_call(parse(PredictRequest, body), context, default)


def fast_predict_call(body: bytes, context: CallContext) -> PredictCall | None:
    """Do what `predict_call` does if the fast path takes the request, or return None.

    However large it is, that is short: large tensors are read in place.
    """
    size = _VALUE_SIZES.get(len(body))
    if size is not None:
        start = len(body) - size
        layout = _LAYOUTS.get(body[:start])
        if layout is not None and layout.nbytes == size:  # else of a request of another length
            spec, alias, dtype, shape, count, _, output_filter = layout
            array = np.frombuffer(body, dtype, count, start)
            if len(shape) != 1:
                array = array.reshape(shape)
            inputs = _new(Arrays, ({alias: array},))
            return _new(PredictCall, (spec, inputs, context, output_filter))
    try:
        call = _predict_call(body, context, _FAST_KINDS)
    except _GIVE_UP:
        return None
    _remember_layout(body, call)
    return call


def cost_s(body: bytes) -> float:
    """Return the time that `predict_call` will take where `fast_predict_call` has given up."""
    return len(body) * _S_PER_BYTE


def predict_result(body: bytes) -> PredictResult:
    """Read the bytes of an answer to Predict; a large one can take milliseconds.

    Raises `Internal` if they are not one.
    """
    try:
        return _predict_result(body, _KINDS)
    except _GIVE_UP:
        return client_codec.predict_result(parse_answer(PredictResponse, body))


def fast_predict_result(body: bytes) -> PredictResult | None:
    """Do what `predict_result` does if the fast path takes the answer, or return None."""
    try:
        return _predict_result(body, _FAST_KINDS)
    except _GIVE_UP:
        return None


class _Layout(NamedTuple):
    """A request but for the values of its only tensor, which are its last bytes."""

    spec: ModelSpec
    alias: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int  # in elements
    nbytes: int
    output_filter: Sequence[str]


# Clients send the same bytes again and again, but for the values: up to there the bytes of a
# request decide how it is read, and beyond there nothing is looked at. So a request whose length
# and first bytes are known is not read anew.
_LAYOUTS: dict[bytes, _Layout] = {}
_VALUE_SIZES: dict[int, int] = {}  # by the length of a request: of the layout that was last seen
_MAX_LAYOUTS = 1024  # then they are all forgotten
_MAX_LAYOUT_BYTES = 512
_NOT_LOOKED_AT = frozenset("fc")  # kinds of numbers of which every bit pattern is right


def _remember_layout(body: bytes, call: PredictCall) -> None:
    inputs = cast("Arrays", call.inputs).by_alias
    if len(inputs) != 1:
        return
    ((alias, array),) = inputs.items()
    start = len(body) - array.nbytes
    is_last = array.size and _address(array) == _address(np.frombuffer(body, np.uint8)) + start
    if is_last and array.dtype.kind in _NOT_LOOKED_AT and start <= _MAX_LAYOUT_BYTES:
        if len(_LAYOUTS) >= _MAX_LAYOUTS:
            _LAYOUTS.clear()
            _VALUE_SIZES.clear()
        _VALUE_SIZES[len(body)] = array.nbytes
        _LAYOUTS[body[:start]] = _Layout(
            call.spec,
            alias,
            array.dtype,
            array.shape,
            array.size,
            array.nbytes,
            call.output_filter,
        )


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _tag(kind: type[Message], field: str) -> int:
    """Return the bytes of a tag as `_predict_call` and `_tensor` take them up."""
    return int.from_bytes(wire_format.tag(kind, field), "little")


_MODEL_SPEC = _tag(PredictRequest, "model_spec")
_INPUT = _tag(PredictRequest, "inputs")
_OUTPUT_FILTER = _tag(PredictRequest, "output_filter")
_OUTPUT = _tag(PredictResponse, "outputs")
_RESPONSE_SPEC = _tag(PredictResponse, "model_spec")
# Maps are alike: what holds for inputs holds for outputs.
_KEY = _tag(PredictRequest.InputsEntry, "key")
_VALUE = _tag(PredictRequest.InputsEntry, "value")
_DTYPE = TensorProto.DTYPE_FIELD_NUMBER << 3  # a varint
_SHAPE = _tag(TensorProto, "tensor_shape")
_CONTENT = _tag(TensorProto, "tensor_content")
_STRING = _tag(TensorProto, "string_val")


def _predict_call(
    body: bytes, context: CallContext, kinds: _Kinds, default: ModelSpec | None = None
) -> PredictCall:
    spec: ModelSpec | None = None
    inputs: dict[str, Array] = {}
    output_filter: list[str] = []
    position, end = 0, len(body)
    while position < end:
        tag = body[position]
        start, position = _extent(body, position + 1)
        if position > end:
            raise NotOnFastPath
        if tag == _INPUT:
            alias, array = _entry(body, start, position, kinds)
            if alias in inputs:
                raise NotOnFastPath
            inputs[alias] = array
        elif tag == _MODEL_SPEC and spec is None:
            spec = _model_spec(body[start:position])
        elif tag == _OUTPUT_FILTER:
            output_filter.append(body[start:position].decode())
        else:
            raise NotOnFastPath
        if len(inputs) + len(output_filter) > _MAX_NAMES:
            raise NotOnFastPath
    spec = spec or default
    if spec is None:
        raise NotOnFastPath
    return PredictCall(
        spec=spec,
        inputs=Arrays(inputs),
        output_filter=tuple(output_filter),
        context=context,
    )


def _predict_result(body: bytes, kinds: _Kinds) -> PredictResult:
    spec: ModelSpec | None = None
    outputs: dict[str, Array] = {}
    position, end = 0, len(body)
    while position < end:
        tag = body[position]
        start, position = _extent(body, position + 1)
        if position > end:
            raise NotOnFastPath
        if tag == _OUTPUT:
            alias, array = _entry(body, start, position, kinds)
            if alias in outputs:
                raise NotOnFastPath
            outputs[alias] = array
        elif tag == _RESPONSE_SPEC and spec is None:
            spec = _model_spec(body[start:position])
        else:
            raise NotOnFastPath
    if spec is None:
        raise NotOnFastPath
    return PredictResult(spec=client_codec.resolved(spec), outputs=outputs)


def _extent(body: bytes, position: int) -> tuple[int, int]:
    """Return where the bytes whose size stands at `position` start and end."""
    size = body[position]
    position += 1
    if size > 0x7F:
        size &= 0x7F
        for shift in (7, 14, 21, 28):
            byte = body[position]
            position += 1
            size |= (byte & 0x7F) << shift
            if byte <= 0x7F:
                break
        if not 0 < byte <= 0x7F:
            raise NotOnFastPath
    return position, position + size


@functools.lru_cache(maxsize=1024)
def _model_spec(encoded: bytes) -> ModelSpec:
    if len(encoded) > _MAX_REMEMBERED_BYTES:
        raise NotOnFastPath
    return codec.model_spec(ModelSpecProto.FromString(encoded))


def _entry(body: bytes, position: int, end: int, kinds: _Kinds) -> tuple[str, Array]:
    if body[position] != _KEY:
        raise NotOnFastPath
    start, position = _extent(body, position + 1)
    alias = body[start:position].decode()
    if body[position] != _VALUE:
        raise NotOnFastPath
    start, position = _extent(body, position + 1)
    if position != end:
        raise NotOnFastPath
    return alias, _tensor(body, start, end, kinds)


def _tensor(body: bytes, position: int, end: int, kinds: _Kinds) -> Array:
    if body[position] != _DTYPE:
        raise NotOnFastPath
    kind = kinds[body[position + 1]]
    shape, count = _SCALAR
    position += 2
    if body[position] == _SHAPE:
        start, position = _extent(body, position + 1)
        shape, count = _shape(body[start:position])
    field = position
    tag = body[position]
    if tag == _STRING == kind.tag:
        return _strings(body, position, end, count).reshape(shape)
    if tag > 0x7F:  # the numbers of two fields take two bytes
        position += 1
        tag |= body[position] << 8
    start, position = _extent(body, position + 1)
    if position != end or start == end:
        raise NotOnFastPath
    if tag == kind.tag:
        return kind.packed(kind, body, (field, start, end), count).reshape(shape)
    if tag == _CONTENT:
        return kind.content(kind, body, (field, start, end), count).reshape(shape)
    raise NotOnFastPath


_Shape = tuple[tuple[int, ...], int]  # and the number of elements
_SCALAR: _Shape = ((), 1)


@functools.lru_cache(maxsize=1024)
def _shape(encoded: bytes) -> _Shape:
    if len(encoded) > _MAX_REMEMBERED_BYTES:
        raise NotOnFastPath
    proto = TensorShapeProto.FromString(encoded)
    shape = tuple(dim.size for dim in proto.dim)
    if proto.unknown_rank or len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise NotOnFastPath
    return shape, math.prod(shape)


def _strings(body: bytes, position: int, end: int, count: int) -> Array:
    if count > _FEW_STRINGS:
        raise NotOnFastPath
    values = np.empty(count, object)
    for index in range(count):
        if body[position] != _STRING:
            raise NotOnFastPath
        start, position = _extent(body, position + 1)
        values[index] = body[start:position]
    if position != end:
        raise NotOnFastPath
    return values


_Place = tuple[int, int, int]  # where a field starts, its values start, and both end
_Reader = Callable[["_Kind", bytes, _Place, int], Array]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the values of one dtype are read: packed in its own field, or as content.

    A reader also takes the number of elements that there must be.
    """

    dtype: np.dtype[Any]
    itemsize: int
    integer: np.dtype[Any]  # which a varint is cut to, and is then seen as `dtype`
    field: str
    tag: int
    packed: _Reader
    content: _Reader


def _memory(kind: _Kind, body: bytes, place: _Place, count: int) -> Array:
    _, start, end = place
    if end - start != count * kind.itemsize:
        raise NotOnFastPath
    return np.frombuffer(body, kind.dtype, count, start)


def _packed_bools(kind: _Kind, body: bytes, place: _Place, count: int) -> Array:
    _, start, end = place
    if body[start:end].translate(None, b"\x00\x01"):
        raise NotOnFastPath
    return _memory(kind, body, place, count)


def _content_bools(_kind: _Kind, body: bytes, place: _Place, count: int) -> Array:
    _, start, end = place
    if end - start != count:
        raise NotOnFastPath
    nonzero: Array = np.frombuffer(body, np.uint8, count, start) != 0
    return nonzero


def _integers(kind: _Kind, body: bytes, place: _Place, count: int) -> Array:
    """Read packed varints; 16-bit floats travel as the numbers that their bits are."""
    field, start, end = place
    size = end - start
    if not count <= size <= count * wire_format.MAX_VARINT_BYTES:
        raise NotOnFastPath
    if size == count and body[start:end].isascii():
        values = np.frombuffer(body, np.uint8, count, start).astype(kind.integer)
    elif size <= _FEW_INTEGER_BYTES:
        values = _parsed_integers(kind, body[field:end])
    else:
        values = np.empty(count, kind.integer)
        wire_format.decode_varints(np.frombuffer(body, np.uint8, size, start), values)
    return values.view(kind.dtype)


def _fast_integers(kind: _Kind, body: bytes, place: _Place, count: int) -> Array:
    _, start, end = place
    if end - start > _DECODED_BYTES:
        raise NotOnFastPath
    return _integers(kind, body, place, count)


def _parsed_integers(kind: _Kind, field: bytes) -> Array:
    """Read the varints of one field by protobuf; if they are too many, no shape fits them."""
    values = getattr(TensorProto.FromString(field), kind.field)
    if not hasattr(values, "__array__"):
        values = values[:]
    widest = np.uint64 if kind.field == "uint64_val" else np.int64
    return np.array(values, widest).astype(kind.integer, copy=False)


def _unread(_kind: _Kind, _body: bytes, _place: _Place, _count: int) -> Array:
    raise NotOnFastPath


def _kind(dtype: DType) -> _Kind:
    packed: _Reader
    content: _Reader
    match dtype:
        case DType.STRING:
            packed, content = _unread, _unread
        case DType.BOOL:
            packed, content = _packed_bools, _content_bools
        case DType.FLOAT | DType.DOUBLE | DType.COMPLEX64 | DType.COMPLEX128:
            packed, content = _memory, _memory
        case _:
            packed, content = _integers, _memory
    field = tensors.field_of(dtype)
    return _Kind(
        dtype=dtype.numpy,
        itemsize=dtype.numpy.itemsize,
        integer=np.dtype(np.uint16) if field == "half_val" else dtype.numpy,
        field=field,
        tag=_tag(TensorProto, field),
        packed=packed,
        content=content,
    )


_Kinds = Mapping[int, _Kind]  # by the number of a dtype
_KINDS: _Kinds = {dtype.value: _kind(dtype) for dtype in DType}
_FAST_KINDS: _Kinds = {
    number: replace(kind, packed=_fast_integers) if kind.packed is _integers else kind
    for number, kind in _KINDS.items()
}
