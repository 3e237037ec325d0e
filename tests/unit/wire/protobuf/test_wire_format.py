"""Varints by the array, against protobuf."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun.wire.protobuf import wire_format

UINT64 = st.integers(0, 64).flatmap(lambda bits: st.integers(0, (1 << bits) - 1))


def packed(values: Sequence[int]) -> bytes:
    return wire_format.encode_varints(np.array(values, np.uint64))


def parsed(encoded: bytes) -> list[int]:
    """Return what protobuf reads in a field of packed varints."""
    header = wire_format.tag(TensorProto, "uint64_val") + wire_format.varint(len(encoded))
    return list(TensorProto.FromString(header + encoded).uint64_val)


def shortest(values: Sequence[int]) -> bytes:
    return b"".join(wire_format.varint(value) for value in values)


def decoded(encoded: bytes, count: int, dtype: Any = np.uint64) -> list[int]:
    values = np.empty(count, dtype)
    wire_format.decode_varints(np.frombuffer(encoded, np.uint8), values)
    return [int(value) for value in values]


@given(values=st.lists(UINT64, min_size=1, max_size=40))
def test_arrays_are_packed_as_by_protobuf_and_read_back(values: list[int]) -> None:
    encoded = packed(values)

    assert encoded == shortest(values)
    assert parsed(encoded) == values
    assert decoded(encoded, len(values)) == values


@pytest.mark.parametrize("bits", [1, 7, 8, 14, 15, 31, 32, 56, 57, 63, 64])
def test_arrays_of_many_windows_are_packed_as_by_protobuf_and_read_back(bits: int) -> None:
    generator = random.Random(bits)
    values = [generator.getrandbits(generator.randint(1, bits)) for _ in range(20_000)]

    encoded = packed(values)

    assert encoded == shortest(values)
    assert parsed(encoded) == values
    assert decoded(encoded, len(values)) == values


def test_values_are_cut_to_the_type_that_is_asked_for() -> None:
    encoded = packed([(1 << 64) - 1, (1 << 32) + 5, 200])

    assert decoded(encoded, 3, np.int32) == [-1, 5, 200]
    assert decoded(encoded, 3, np.int8) == [-1, 5, -56]


def test_needless_bytes_change_nothing() -> None:
    assert decoded(b"\x85\x80\x00" + b"\x85" + b"\x80" * 8 + b"\x00", 2) == [5, 5]


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x05\x85", id="cut short"),
        pytest.param(b"\x05" + b"\x80" * 10 + b"\x00", id="eleven bytes"),
        pytest.param(b"\x80" * 9 + b"\x02\x05", id="a 65th bit"),
        pytest.param(b"\x80" * 20_000 + b"\x00", id="no end in sight"),
        pytest.param(b"\x05", id="too few"),
        pytest.param(b"\x05\x05\x05", id="too many"),
    ],
)
def test_what_is_not_so_many_varints_is_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="varint"):
        decoded(encoded, 2)


def test_a_tag_is_field_number_and_wire_type() -> None:
    assert wire_format.tag(TensorProto, "float_val") == bytes([5 << 3 | 2])
    assert wire_format.tag(TensorProto, "uint64_val") == b"\x8a\x01"


def test_fields_are_counted_each_as_often_as_it_occurs() -> None:
    tensor = TensorProto(version_number=300, float_val=[1.0, 2.0], tensor_content=b"abc")
    tensor.string_val.extend([b"", b"x" * 300])
    message = tensor.SerializeToString()  # the numbers are packed in one field
    message += b"\x95\x03" + b"\xff" * 4 + b"\x91\x03" + b"\xff" * 8  # fixed, of a field 50

    assert not wire_format.has_more_fields_than(7, message)
    assert wire_format.has_more_fields_than(6, message)


@pytest.mark.parametrize("broken", [b"\xff" * 1000, b"\x0b", b"\x0a", b"\x08" + b"\xff" * 11])
def test_what_is_no_message_is_left_to_the_parser(broken: bytes) -> None:
    assert not wire_format.has_more_fields_than(0, broken)
