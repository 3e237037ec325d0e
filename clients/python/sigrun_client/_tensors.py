"""What users hand over -> numpy arrays -> TensorProto, and back.

Arrays go as they are. Strings and bytes are strings. Numbers in lists carry no dtype: they are
given that of the signature, and refused where it could not hold them. On the wire the memory of
an array is written and read in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from sigrun_client._errors import InvalidInput, InvalidReply
from sigrun_client._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun_client._gen.tensorflow.core.framework.types_pb2 import DataType

Array: TypeAlias = NDArray[Any]
"""One tensor. Strings are object arrays of `bytes`."""


class SupportsArray(Protocol):
    """An array of any library that numpy can take over, such as a tensor of torch."""

    def __array__(self) -> Array: ...


Scalar: TypeAlias = bool | int | float | complex | str | bytes
TensorLike: TypeAlias = "SupportsArray | Scalar | Sequence[TensorLike]"
"""What is taken for a tensor."""

Piece: TypeAlias = bytes | memoryview
"""Bytes to send; a view stands for an array's own memory."""

STRING = "string"
BFLOAT16 = "bfloat16"

# The dtypes that travel: TensorFlow's number, the field for single values, numpy's dtype. Reading
# gives bfloat16 as float32, which holds all its values, since numpy has no such dtype.
_DTYPES: dict[str, tuple[int, str, np.dtype[Any]]] = {
    "float32": (1, "float_val", np.dtype("<f4")),
    "float64": (2, "double_val", np.dtype("<f8")),
    "int32": (3, "int_val", np.dtype("<i4")),
    "uint8": (4, "int_val", np.dtype("u1")),
    "int16": (5, "int_val", np.dtype("<i2")),
    "int8": (6, "int_val", np.dtype("i1")),
    STRING: (7, "string_val", np.dtype(object)),
    "complex64": (8, "scomplex_val", np.dtype("<c8")),
    "int64": (9, "int64_val", np.dtype("<i8")),
    "bool": (10, "bool_val", np.dtype("?")),
    BFLOAT16: (14, "half_val", np.dtype("<u2")),
    "uint16": (17, "int_val", np.dtype("<u2")),
    "complex128": (18, "dcomplex_val", np.dtype("<c16")),
    "float16": (19, "half_val", np.dtype("<f2")),
    "uint32": (22, "uint32_val", np.dtype("<u4")),
    "uint64": (23, "uint64_val", np.dtype("<u8")),
}
_BY_NUMBER = {number: name for name, (number, _, _) in _DTYPES.items()}

# Which kinds of numbers a list may hold for a dtype of a kind.
_FITS = {"b": "b", "i": "biu", "u": "biu", "f": "biuf", "c": "biufc"}

# Fields whose packed form is the memory of the array itself.
AS_MEMORY = frozenset({"float_val", "double_val", "scomplex_val", "dcomplex_val"})

_MAX_REPEATED_BYTES = 1 << 28
_HALF_OF_16_BITS = np.uint32(0x7FFF)


def dtype_name(number: int) -> str:
    """Return the name of a `tensorflow.DataType`; one that cannot travel has TensorFlow's."""
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    known = DataType.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix("DT_").lower() if known else f"type {number}"


def has_dtype(value: TensorLike) -> bool:
    """Return whether a value says of which dtype it is: arrays do, strings and bytes do."""
    leaf = _leaf(value)
    return isinstance(leaf, str | bytes) or hasattr(leaf, "__array__")


def _leaf(value: TensorLike) -> object:
    """Return the first element in nested lists, or an empty list if there is none."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def as_array(alias: str, value: TensorLike, dtype: str | None) -> tuple[str, Array]:
    """Return the dtype and the array that a value stands for.

    `dtype` is the signature's, for values that have none of their own, and None where the
    signature is not known. bfloat16 comes as its bits. Raises `InvalidInput`.
    """
    leaf = _leaf(value)
    if isinstance(leaf, str | bytes) or (dtype == STRING and isinstance(leaf, list | tuple)):
        return STRING, _strings(alias, value)
    numbers = _natural(alias, value)
    if hasattr(leaf, "__array__"):
        return _own_dtype(alias, numbers)
    if dtype is None or dtype not in _DTYPES:
        dtype = {"b": "bool", "i": "int32", "f": "float32", "c": "complex64"}.get(
            numbers.dtype.kind, "int64"
        )
    if dtype == STRING:
        raise InvalidInput(f"input {alias!r} takes strings, not {_excerpt(value)}")
    return dtype, _cast(alias, value, numbers, dtype)


def _own_dtype(alias: str, array: Array) -> tuple[str, Array]:
    name = array.dtype.name
    if name == BFLOAT16:
        return BFLOAT16, array.view(np.uint16)
    if array.dtype.kind in "OUST":
        return STRING, _strings(alias, array)
    if name not in _DTYPES:
        raise InvalidInput(f"input {alias!r} has elements of type {name}, which cannot be sent")
    return name, array


def _strings(alias: str, value: Any) -> Array:
    try:
        # `dtype=object` alone, as numpy's own strings lose zero bytes at their end.
        texts = value.astype(object) if isinstance(value, np.ndarray) else np.array(value, object)
    except ValueError:
        raise _ragged(alias) from None
    strings = np.empty(texts.size, object)
    for index, text in enumerate(texts.reshape(-1)):
        if isinstance(text, str):
            strings[index] = text.encode()
        elif isinstance(text, bytes):
            strings[index] = text
        elif isinstance(text, list | tuple):
            raise _ragged(alias)
        else:
            raise InvalidInput(f"input {alias!r} has strings beside {_excerpt(text)}")
    return strings.reshape(texts.shape)


def _natural(alias: str, value: TensorLike) -> Array:
    try:
        return np.asarray(value)
    except ValueError:
        raise _ragged(alias) from None


def _cast(alias: str, value: TensorLike, numbers: Array, dtype: str) -> Array:
    target = np.dtype(np.float32) if dtype == BFLOAT16 else _DTYPES[dtype][2]
    if numbers.size and numbers.dtype.kind not in _FITS[target.kind]:
        raise InvalidInput(f"input {alias!r} takes {dtype}, not {_excerpt(value)}")
    try:
        # Of integers from the values themselves: numpy then refuses those that do not fit.
        with np.errstate(over="raise"):
            array = np.array(value, target) if target.kind in "iu" else numbers.astype(target)
    except (OverflowError, FloatingPointError) as error:
        raise InvalidInput(f"input {alias!r} takes {dtype}: {error}") from None
    return _bfloat16_bits(array) if dtype == BFLOAT16 else array


def _bfloat16_bits(array: Array) -> Array:
    """Return the upper halves of float32, rounded to nearest, ties to even."""
    bits = array.reshape(-1).view(np.uint32)
    rounded = (bits + _HALF_OF_16_BITS + ((bits >> 16) & 1)) >> 16
    halves = np.where(np.isnan(array.reshape(-1)), (bits >> 16) | 0x40, rounded)
    return halves.astype(np.uint16).reshape(array.shape)


def _ragged(alias: str) -> InvalidInput:
    return InvalidInput(f"the lists of input {alias!r} differ in length, and make no tensor")


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def encode(dtype: str, array: Array) -> list[Piece]:
    """Return a TensorProto as pieces; the last is the array's own memory where it can be."""
    number, _, wire_dtype = _DTYPES[dtype]
    head = TensorProto(dtype=number)  # type: ignore[arg-type]  # an enum is its number
    for size in array.shape:
        head.tensor_shape.dim.add(size=size)
    if dtype == STRING:
        head.string_val.extend(array.reshape(-1).tolist())
        return [head.SerializeToString()]
    pieces: list[Piece] = [head.SerializeToString()]
    if array.size:
        memory = np.ascontiguousarray(array, wire_dtype).reshape(-1).view(np.uint8).data
        pieces += [CONTENT + varint(len(memory)), memory]
    return pieces


def varint(value: int) -> bytes:
    """Return `value`, which is not negative, as a varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(body: bytes, position: int) -> tuple[int, int]:
    """Return the varint at `position`, and where it ends. Raises `IndexError`, `DecodeError`."""
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise DecodeError("a number of more than 64 bits")


def tag(number: int) -> bytes:
    """Return what stands before the length of field `number`: a string, message or packed."""
    return varint(number << 3 | 2)


CONTENT = tag(TensorProto.TENSOR_CONTENT_FIELD_NUMBER)
FIELDS = {name: TensorProto.DESCRIPTOR.fields_by_name[name].number for name in AS_MEMORY}


def decode(proto: TensorProto) -> Array:
    """Return what a message holds, read-only. Raises `InvalidReply`.

    As TensorFlow reads it: the last value is repeated where there are too few.
    """
    dtype, shape, count = _layout(proto)
    _, field, wire_dtype = _DTYPES[dtype]
    if content := proto.tensor_content:
        if dtype == STRING:
            return _finished(dtype, _content_strings(content, count), shape)
        return in_place(proto, content, 0, len(content))
    values = _field_values(dtype, wire_dtype, getattr(proto, field))
    if len(values) != count:
        values = _filled(values, count)
    return _finished(dtype, values, shape)


def in_place(head: TensorProto, body: bytes, start: int, end: int) -> Array:
    """Return the array whose memory lies in `body`, read-only, without a copy.

    `head` has dtype and shape. Raises `InvalidReply` if they take other than these bytes.
    """
    dtype, shape, count = _layout(head)
    wire_dtype = _DTYPES[dtype][2]
    if end - start != count * wire_dtype.itemsize:
        raise InvalidReply(f"{end - start} bytes are no {dtype} tensor of shape {list(shape)}")
    values: Array = np.frombuffer(body, wire_dtype, count, start)
    if dtype == "bool":
        values = values.view(np.uint8) != 0
    return _finished(dtype, values, shape)


def memory_field(dtype: str) -> str | None:
    """Return the field in which a dtype lies as in memory, if it has one."""
    field = _DTYPES[dtype][1] if dtype in _DTYPES else None
    return field if field in AS_MEMORY else None


def _layout(proto: TensorProto) -> tuple[str, tuple[int, ...], int]:
    dtype = _BY_NUMBER.get(proto.dtype)
    if dtype is None:
        raise InvalidReply(f"a tensor of element type {proto.dtype} cannot be read")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InvalidReply("a tensor has no definite shape")
    return dtype, shape, math.prod(shape)


def _field_values(dtype: str, wire_dtype: np.dtype[Any], field: Any) -> Array:
    if dtype == STRING:
        strings = np.empty(len(field), object)
        strings[:] = field[:]
        return strings
    if not hasattr(field, "__array__"):
        field = field[:]  # before protobuf 7: numpy reads a list faster than the field
    if dtype in ("float16", BFLOAT16):
        return np.array(field, np.int32).astype(np.uint16).view(wire_dtype)
    if wire_dtype.kind == "c":
        return np.array(field, wire_dtype.char.lower()).view(wire_dtype)
    if wire_dtype.itemsize < 4 and wire_dtype.kind in "iu":
        return np.array(field, np.int32).astype(wire_dtype)
    return np.array(field, wire_dtype)


def _content_strings(content: bytes, count: int) -> Array:
    """Read `count` lengths as varints, and then as many strings."""
    strings = np.empty(min(count, len(content)), object)
    lengths, position = [], 0
    try:
        for _ in range(count):
            length, position = read_varint(content, position)
            lengths.append(length)
    except IndexError:
        raise InvalidReply(f"{len(content)} bytes are no {count} strings") from None
    if len(content) - position != sum(lengths):
        raise InvalidReply(f"{len(content)} bytes are no {count} strings")
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _filled(values: Array, count: int) -> Array:
    if len(values) > count:
        return values[:count]
    if count * values.dtype.itemsize > _MAX_REPEATED_BYTES:
        raise InvalidReply(f"a tensor of {count} elements has {len(values)} values")
    last = values[-1] if len(values) else (b"" if values.dtype.kind == "O" else 0)
    filled = np.empty(count, values.dtype)
    filled[: len(values)] = values
    filled[len(values) :] = last
    return filled


def _finished(dtype: str, values: Array, shape: tuple[int, ...]) -> Array:
    if dtype == BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    try:
        values = values.reshape(shape)
    except ValueError:  # a size of 0 among sizes whose product no array can have
        raise InvalidReply(f"no array can have the shape {list(shape)}") from None
    values.flags.writeable = False
    return values
