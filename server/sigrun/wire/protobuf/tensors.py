"""TensorProto <-> numpy, whole arrays at a time.

Reading follows TensorFlow: `tensor_content` first, else the field of the dtype, the last
value repeated where there are too few, surplus ones ignored, zeros where there are none.
Writing fills the field of the dtype with every element, or `tensor_content` on request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun.errors import InvalidArgument
from sigrun.inference.checks import check_input_names
from sigrun.tensors.signature import MAX_RANK, Array, DType, Signature, dtype_of
from sigrun.wire.protobuf.wire_format import tag, varint

_STRING = DType.STRING

# A few bytes can ask for a tensor of any size by repeating their last value. TensorFlow would
# try to allocate it. Here the tensors of one message may grow by `MAX_GROWTH_BYTES`, which is
# plenty for constants and padding, or by `_MAX_GROWTH` times what was sent, whichever is more.
MAX_GROWTH_BYTES = 64 << 20
_MAX_GROWTH = 16
# A string takes 8 bytes here and 24 in TensorFlow, which also copies each one.
_STRING_BYTES = 32

_FIELD: dict[DType, str] = {
    DType.FLOAT: "float_val",
    DType.DOUBLE: "double_val",
    DType.INT32: "int_val",
    DType.UINT8: "int_val",
    DType.INT16: "int_val",
    DType.INT8: "int_val",
    DType.STRING: "string_val",
    DType.COMPLEX64: "scomplex_val",
    DType.INT64: "int64_val",
    DType.BOOL: "bool_val",
    DType.BFLOAT16: "half_val",
    DType.UINT16: "int_val",
    DType.COMPLEX128: "dcomplex_val",
    DType.HALF: "half_val",
    DType.UINT32: "uint32_val",
    DType.UINT64: "uint64_val",
}

_DTYPES = frozenset(dtype.value for dtype in DType)
_OF_TWO_PARTS = frozenset({DType.COMPLEX64, DType.COMPLEX128})

# Fields whose packed form is the memory of the array itself.
_PACKED_AS_MEMORY = frozenset(
    {DType.FLOAT, DType.DOUBLE, DType.COMPLEX64, DType.COMPLEX128, DType.BOOL}
)


def input_arrays(protos: Mapping[str, TensorProto], signature: Signature) -> dict[str, Array]:
    """Return the inputs of a request, checked by name against `signature`.

    Raises `InvalidArgument` for names that do not fit and for tensors that do not decode.
    """
    if protos.keys() != signature.inputs.keys():
        check_input_names(signature, protos.keys())
    _check_growth(protos)
    return {alias: _decoded(alias, proto) for alias, proto in protos.items()}


def decode(alias: str, proto: TensorProto) -> Array:
    """Return the array that `proto` carries; it may be read-only memory of the request.

    Raises `InvalidArgument` if dtype, shape and values do not make a tensor, or a few values
    one that is out of proportion.
    """
    _check_growth({alias: proto})
    return _decoded(alias, proto)


def growth_bytes(proto: TensorProto) -> int:
    """Return how many bytes of a tensor are made by repeating its last value.

    0 for what is not a tensor, which is refused when it is decoded.
    """
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content or proto.dtype not in _DTYPES or len(sizes) > MAX_RANK:
        return 0
    if any(size < 0 for size in sizes):
        return 0
    dtype = DType(proto.dtype)
    values = getattr(proto, _FIELD[dtype])
    given = len(values) // 2 if dtype in _OF_TWO_PARTS else len(values)
    repeats = max(0, math.prod(sizes) - given)
    if dtype is _STRING:
        return repeats * (_STRING_BYTES + (len(values[-1]) if given else 0))
    return repeats * dtype.numpy.itemsize


def decoding_bytes(protos: Mapping[str, TensorProto]) -> int:
    """Return how many bytes `input_arrays` will make by repeating; 0 if it will refuse to."""
    grown = sum(map(growth_bytes, protos.values()))
    if grown > MAX_GROWTH_BYTES and grown > growth_limit(_sent_bytes(protos)):
        return 0
    return grown


def growth_limit(sent_bytes: int) -> int:
    """Return how many bytes may be made of a message of `sent_bytes` by repeating parts of it."""
    return max(MAX_GROWTH_BYTES, _MAX_GROWTH * sent_bytes)


def _check_growth(protos: Mapping[str, TensorProto]) -> None:
    """Raise `InvalidArgument` if a small message would become huge."""
    grown = 0
    for alias, proto in protos.items():
        grown += growth_bytes(proto)
        if grown > MAX_GROWTH_BYTES and grown > growth_limit(sent := _sent_bytes(protos)):
            raise _broken(
                alias,
                f"to fill its shape {[dim.size for dim in proto.tensor_shape.dim]} by repeating "
                f"the last value, {sent} bytes would become {sent + grown}; {growth_limit(sent)} "
                "may be added: send all values, or fewer elements",
            )


def _sent_bytes(protos: Mapping[str, TensorProto]) -> int:
    return sum(proto.ByteSize() for proto in protos.values())


def _decoded(alias: str, proto: TensorProto) -> Array:
    try:
        dtype = DType(proto.dtype)
    except ValueError:
        raise _broken(alias, f"element type {proto.dtype} is not served") from None
    shape = _shape(alias, proto)
    count = math.prod(shape)
    if proto.tensor_content:
        return _shaped(alias, _from_content(alias, dtype, proto.tensor_content, count), shape)
    values = _from_field(dtype, getattr(proto, _FIELD[dtype]))
    if len(values) != count:
        values = _fitted(values, dtype, count)
    return _shaped(alias, values, shape)


def _broken(alias: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"tensor parsing error: {alias}: {reason}")


def _shape(alias: str, proto: TensorProto) -> tuple[int, ...]:
    if proto.tensor_shape.unknown_rank:
        raise _broken(alias, "its shape has an unknown rank")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise _broken(alias, f"its shape {list(shape)} has a negative dimension")
    if len(shape) > MAX_RANK:
        raise _broken(alias, f"its shape has {len(shape)} dimensions, more than {MAX_RANK}")
    return shape


def _shaped(alias: str, values: Array, shape: tuple[int, ...]) -> Array:
    try:
        return values.reshape(shape)
    except ValueError:  # a size of 0 among sizes whose product no array can have
        raise _broken(alias, f"its shape {list(shape)} is too large") from None


def _from_content(alias: str, dtype: DType, content: bytes, count: int) -> Array:
    if dtype is _STRING:
        return _strings_from_content(alias, content, count)
    itemsize = dtype.numpy.itemsize
    if len(content) != count * itemsize:
        raise _broken(
            alias,
            f"tensor_content has {len(content)} bytes, "
            f"{count} elements of {dtype.label} take {count * itemsize}",
        )
    if dtype is DType.BOOL:
        nonzero: Array = np.frombuffer(content, np.uint8) != 0
        return nonzero
    return np.frombuffer(content, dtype.numpy)


def _strings_from_content(alias: str, content: bytes, count: int) -> Array:
    """Read `count` varint lengths and then the bytes of all strings."""
    if count > len(content):
        raise _broken(alias, f"tensor_content is too short for {count} strings")
    lengths, position = [], 0
    for _ in range(count):
        length, position = _varint(alias, content, position)
        lengths.append(length)
    if len(content) - position != sum(lengths):
        raise _broken(alias, "tensor_content does not have the length that its strings add up to")
    values = np.empty(count, object)
    for index, length in enumerate(lengths):
        values[index] = content[position : position + length]
        position += length
    return values


def _varint(alias: str, content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(content) and shift < 64:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
    raise _broken(alias, "a string length in tensor_content is cut short")


def _from_field(dtype: DType, field: Any) -> Array:
    if not hasattr(field, "__array__"):
        field = field[:]  # before protobuf 7: numpy reads a list faster than the field
    match dtype:
        case DType.STRING:
            values = np.empty(len(field), object)
            values[:] = field
            return values
        case DType.HALF | DType.BFLOAT16:
            return np.array(field, np.int32).astype(np.uint16).view(dtype.numpy)
        case DType.COMPLEX64 | DType.COMPLEX128:
            part = np.float32 if dtype is DType.COMPLEX64 else np.float64
            return np.array(field[: len(field) // 2 * 2], part).view(dtype.numpy)
        case DType.INT8 | DType.INT16 | DType.UINT8 | DType.UINT16:
            return np.array(field, np.int32).astype(dtype.numpy)
        case _:
            return np.array(field, dtype.numpy)


def _fitted(values: Array, dtype: DType, count: int) -> Array:
    """Return `values` cut to `count`, or filled up with their last one."""
    if len(values) >= count:
        return values[:count]
    filled = np.empty(count, dtype.numpy)
    filled[: len(values)] = values
    filled[len(values) :] = values[-1] if len(values) else _zero(dtype)
    return filled


def _zero(dtype: DType) -> Any:
    return b"" if dtype is _STRING else 0


def encode(array: Array, *, as_content: bool = False) -> TensorProto:
    """Return `array` as a TensorProto, every element written.

    Raises `Unimplemented` for an element type that has no wire form.
    """
    dtype = dtype_of(array)
    proto = TensorProto(dtype=dtype.value)  # type: ignore[arg-type]  # an IntEnum is the number
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if as_content:
        proto.tensor_content = _content(dtype, array)
    elif dtype in _PACKED_AS_MEMORY:
        proto.MergeFromString(_packed(dtype, array))
    else:
        getattr(proto, _FIELD[dtype]).extend(_field_values(dtype, array))
    return proto


def _packed(dtype: DType, array: Array) -> bytes:
    """Return the field of `dtype` in wire form: its tag, its length, the array's memory."""
    if not array.size:
        return b""
    return tag(TensorProto, _FIELD[dtype]) + varint(array.nbytes) + array.tobytes()


def _field_values(dtype: DType, array: Array) -> list[Any]:
    if dtype in (DType.HALF, DType.BFLOAT16):
        array = array.view(np.uint16)
    values: list[Any] = array.reshape(-1).tolist()
    return values


def _content(dtype: DType, array: Array) -> bytes:
    if dtype is not _STRING:
        return array.tobytes()
    strings = array.reshape(-1).tolist()
    return b"".join([*(varint(len(text)) for text in strings), *strings])


def field_of(dtype: DType) -> str:
    """Return the name of the field that carries elements of `dtype` one by one."""
    return _FIELD[dtype]
