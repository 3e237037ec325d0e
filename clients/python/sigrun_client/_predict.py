"""Predict's messages, the only ones that can be large: written and read without copies.

`request` returns bytes to send, in which each array is copied once. `reply` returns arrays that
are views of the bytes received. A reply without a large tensor is protobuf's; of one that has,
only the large fields are taken out here and the rest of it is protobuf's as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from google.protobuf.message import DecodeError

from sigrun_client import _tensors
from sigrun_client._errors import InvalidInput, InvalidReply
from sigrun_client._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun_client._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun_client._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun_client._tensors import Array, Piece, read_varint, tag, varint

Reply: TypeAlias = tuple[ModelSpec, dict[str, Array]]

_MAX_BYTES = (1 << 31) - 1  # of a protobuf message
_LARGE_BYTES = 1 << 14  # up to here protobuf is as quick

_INPUT = tag(PredictRequest.INPUTS_FIELD_NUMBER)
_KEY, _VALUE = tag(1), tag(2)  # of an entry in any map

_LENGTH_DELIMITED = 2
# After a tag of these wire types: how many bytes a value takes; a varint ends by itself.
_FIXED_BYTES = {1: 8, 5: 4}
_VARINT = 0


def request(
    spec: ModelSpec, inputs: Mapping[str, tuple[str, Array]], outputs: Sequence[str]
) -> bytes:
    """Return a PredictRequest. Raises `InvalidInput` if it is larger than a message can be."""
    head = PredictRequest(model_spec=spec, output_filter=outputs)
    pieces: list[Piece] = [head.SerializeToString()]
    for alias, (dtype, array) in inputs.items():
        tensor = _tensors.encode(dtype, array)
        tensor_bytes = sum(map(len, tensor))
        key = alias.encode()
        entry = b"".join((_KEY, varint(len(key)), key, _VALUE, varint(tensor_bytes)))
        pieces += [_INPUT + varint(len(entry) + tensor_bytes) + entry, *tensor]
    size = sum(map(len, pieces))
    if size > _MAX_BYTES:
        raise InvalidInput(f"a request of {size} bytes cannot be sent; the limit is {_MAX_BYTES}")
    return b"".join(pieces)


def reply(body: bytes) -> Reply:
    """Return model spec and outputs of a PredictResponse. Raises `InvalidReply`."""
    try:
        return _large_reply(body) if len(body) > _LARGE_BYTES else _small_reply(body)
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise InvalidReply(f"{len(body)} bytes are no PredictResponse: {error}") from None


def _small_reply(body: bytes) -> Reply:
    message = PredictResponse.FromString(body)
    outputs = {alias: _tensors.decode(proto) for alias, proto in message.outputs.items()}
    return message.model_spec, outputs


_OUTPUTS = PredictResponse.OUTPUTS_FIELD_NUMBER
_MEMORY = {number: name for name, number in _tensors.FIELDS.items()} | {
    TensorProto.TENSOR_CONTENT_FIELD_NUMBER: ""
}


def _large_reply(body: bytes) -> Reply:
    rest = bytearray()
    outputs: dict[str, Array] = {}
    for number, field, start, end in _fields(body, 0, len(body)):
        if number == _OUTPUTS:
            alias, array = _output(body, start, end)
            outputs[alias] = array
        else:
            rest += body[field:end]
    return PredictResponse.FromString(bytes(rest)).model_spec, outputs


def _output(body: bytes, start: int, end: int) -> tuple[str, Array]:
    alias, tensor = "", (0, 0)
    for number, _, at, stop in _fields(body, start, end):
        if number == 1:
            alias = body[at:stop].decode()
        elif number == 2:
            tensor = at, stop
    return alias, _tensor(body, *tensor)


def _tensor(body: bytes, start: int, end: int) -> Array:
    """Return a tensor: its one large field in place, everything else by protobuf."""
    rest = bytearray()
    large: list[tuple[str, int, int]] = []
    for number, field, at, stop in _fields(body, start, end):
        if stop - at > _LARGE_BYTES and number in _MEMORY:
            large.append((_MEMORY[number], at, stop))
        else:
            rest += body[field:stop]
    head = TensorProto.FromString(bytes(rest))
    dtype = _tensors.dtype_name(head.dtype)
    if len(large) == 1 and dtype != _tensors.STRING:
        name, at, stop = large[0]
        if name in ("", _tensors.memory_field(dtype)):
            return _tensors.in_place(head, body, at, stop)
    return _tensors.decode(TensorProto.FromString(body[start:end]))


def _fields(body: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field of a message: its number, and where it, its value and that end lie."""
    while position < end:
        field = position
        key, position = read_varint(body, position)
        number, wire_type = key >> 3, key & 7
        start = position
        if wire_type == _LENGTH_DELIMITED:
            size, start = read_varint(body, position)
            position = start + size
        elif wire_type == _VARINT:
            _, position = read_varint(body, position)
        elif wire_type in _FIXED_BYTES:
            position += _FIXED_BYTES[wire_type]
        else:
            raise DecodeError(f"a field of wire type {wire_type}")
        if position > end:
            raise DecodeError("a field runs over the end of its message")
        yield number, field, start, position
