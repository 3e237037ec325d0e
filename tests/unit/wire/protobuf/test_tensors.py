"""TensorProto <-> numpy: every rule of reading, both ways of writing, and hostile input."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from sigrun.errors import InvalidArgument, Unimplemented
from sigrun.tensors.signature import Array, DType
from sigrun.wire.protobuf import tensors
from tests.arrays import assert_same
from tests.fakes.servables import signature

# Every dtype, the field its values travel in, three values, and what they are in that field.
TYPED_FIELDS: dict[DType, tuple[str, list[Any], list[Any]]] = {
    DType.FLOAT: ("float_val", [1.5, -2.0, 0.1], [1.5, -2.0, 0.1]),
    DType.DOUBLE: ("double_val", [1.5, -2.0, 0.1], [1.5, -2.0, 0.1]),
    DType.INT32: ("int_val", [1, -2, 2**31 - 1], [1, -2, 2**31 - 1]),
    DType.UINT8: ("int_val", [1, 2, 255], [1, 2, 255]),
    DType.INT16: ("int_val", [1, -2, 32767], [1, -2, 32767]),
    DType.INT8: ("int_val", [1, -2, 127], [1, -2, 127]),
    DType.STRING: ("string_val", [b"a", b"", b"\xff\x00"], [b"a", b"", b"\xff\x00"]),
    DType.COMPLEX64: ("scomplex_val", [1 + 2j, 3 - 4j, 5j], [1, 2, 3, -4, 0, 5]),
    DType.INT64: ("int64_val", [1, -2, 2**63 - 1], [1, -2, 2**63 - 1]),
    DType.BOOL: ("bool_val", [True, False, True], [True, False, True]),
    DType.BFLOAT16: ("half_val", [1.0, -2.0, 0.5], [0x3F80, 0xC000, 0x3F00]),
    DType.UINT16: ("int_val", [1, 2, 65535], [1, 2, 65535]),
    DType.COMPLEX128: ("dcomplex_val", [1 + 2j, 3 - 4j, 5j], [1, 2, 3, -4, 0, 5]),
    DType.HALF: ("half_val", [1.0, -2.0, 0.5], [0x3C00, 0xC000, 0x3800]),
    DType.UINT32: ("uint32_val", [1, 2, 2**32 - 1], [1, 2, 2**32 - 1]),
    DType.UINT64: ("uint64_val", [1, 2, 2**64 - 1], [1, 2, 2**64 - 1]),
}
PARTS_PER_ELEMENT = {DType.COMPLEX64: 2, DType.COMPLEX128: 2}
ALL_DTYPES = sorted(DType)


def array_of(dtype: DType, values: Any, shape: Sequence[int] | None = None) -> Array:
    array = np.array(values, dtype.numpy)
    return array if shape is None else array.reshape(shape)


def shape_of(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def proto_of(dtype: int, *sizes: int, **fields: Any) -> TensorProto:
    proto = TensorProto(tensor_shape=shape_of(*sizes), **fields)
    proto.dtype = dtype  # type: ignore[assignment]  # any number may come over the wire
    return proto


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def test_every_dtype_is_in_the_table() -> None:
    assert TYPED_FIELDS.keys() == set(DType)


class TestReadingTypedFields:
    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_each_dtype_is_read_from_its_field(self, dtype: DType) -> None:
        field, values, wire_values = TYPED_FIELDS[dtype]

        array = tensors.decode("x", proto_of(dtype, 3, **{field: wire_values}))

        assert array.dtype == dtype.numpy
        np.testing.assert_array_equal(array, array_of(dtype, values))

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_too_few_values_are_filled_up_with_the_last(self, dtype: DType) -> None:
        field, values, wire_values = TYPED_FIELDS[dtype]

        array = tensors.decode("x", proto_of(dtype, 2, 3, **{field: wire_values}))

        filled = [*values, *[values[-1]] * 3]
        np.testing.assert_array_equal(array, array_of(dtype, filled, (2, 3)))

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_surplus_values_are_ignored(self, dtype: DType) -> None:
        field, values, wire_values = TYPED_FIELDS[dtype]

        array = tensors.decode("x", proto_of(dtype, 2, **{field: wire_values}))

        np.testing.assert_array_equal(array, array_of(dtype, values[:2]))

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_no_values_are_zeros(self, dtype: DType) -> None:
        array = tensors.decode("x", proto_of(dtype, 2, 2))

        zero = b"" if dtype is DType.STRING else 0
        np.testing.assert_array_equal(array, array_of(dtype, [zero] * 4, (2, 2)))
        assert array.dtype == dtype.numpy

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_no_shape_is_a_scalar(self, dtype: DType) -> None:
        field, values, wire_values = TYPED_FIELDS[dtype]
        proto = proto_of(dtype, **{field: wire_values[: PARTS_PER_ELEMENT.get(dtype, 1)]})
        proto.ClearField("tensor_shape")

        array = tensors.decode("x", proto)

        assert array.shape == ()
        assert array[()] == array_of(dtype, values)[0]

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_a_size_of_0_is_an_empty_tensor(self, dtype: DType) -> None:
        field, _, wire_values = TYPED_FIELDS[dtype]

        for fields in ({}, {field: wire_values}):
            array = tensors.decode("x", proto_of(dtype, 3, 0, 2, **fields))
            assert array.shape == (3, 0, 2)
            assert array.dtype == dtype.numpy

    def test_the_field_of_another_dtype_is_not_looked_at(self) -> None:
        array = tensors.decode("x", proto_of(DType.FLOAT, 2, double_val=[1.0, 2.0]))

        assert array.tolist() == [0.0, 0.0]

    @pytest.mark.parametrize(
        ("dtype", "value", "kept"),
        [
            (DType.INT8, 257, 1),
            (DType.INT16, -32769, 32767),
            (DType.UINT8, -1, 255),
            (DType.UINT16, 65536 + 7, 7),
        ],
    )
    def test_of_a_number_too_wide_for_its_dtype_the_low_bits_count(
        self, dtype: DType, value: int, kept: int
    ) -> None:
        assert tensors.decode("x", proto_of(dtype, 1, int_val=[value])).tolist() == [kept]

    def test_only_the_low_16_bits_of_a_half_count(self) -> None:
        array = tensors.decode("x", proto_of(DType.HALF, 1, half_val=[0x7000_3C00]))

        assert array.tolist() == [1.0]

    def test_a_real_part_without_an_imaginary_one_is_ignored(self) -> None:
        array = tensors.decode("x", proto_of(DType.COMPLEX64, 2, scomplex_val=[1, 2, 3]))

        assert array.tolist() == [1 + 2j, 1 + 2j]

    def test_trailing_zero_bytes_belong_to_a_string(self) -> None:
        array = tensors.decode("x", proto_of(DType.STRING, 2, string_val=[b"a\0\0", b"\0"]))

        assert array.tolist() == [b"a\0\0", b"\0"]


class TestReadingContent:
    @pytest.mark.parametrize("dtype", sorted(set(DType) - {DType.STRING}), ids=lambda d: d.name)
    def test_content_is_the_memory_of_the_array(self, dtype: DType) -> None:
        expected = array_of(dtype, TYPED_FIELDS[dtype][1], (3, 1))

        array = tensors.decode("x", proto_of(dtype, 3, 1, tensor_content=expected.tobytes()))

        assert array.dtype == dtype.numpy
        np.testing.assert_array_equal(array, expected)

    def test_the_content_of_strings_is_their_lengths_and_then_their_bytes(self) -> None:
        long = b"x" * 300
        content = varint(2) + varint(0) + varint(300) + b"\xff\0" + long

        array = tensors.decode("x", proto_of(DType.STRING, 3, tensor_content=content))

        assert array.tolist() == [b"\xff\0", b"", long]

    def test_content_wins_over_the_typed_field(self) -> None:
        content = struct.pack("<f", 1.5)

        array = tensors.decode(
            "x", proto_of(DType.FLOAT, 1, tensor_content=content, float_val=[9.0])
        )

        assert array.tolist() == [1.5]

    def test_every_byte_but_0_is_true(self) -> None:
        array = tensors.decode("x", proto_of(DType.BOOL, 4, tensor_content=b"\0\1\2\xff"))

        assert array.tolist() == [False, True, True, True]
        assert array.view(np.uint8).tolist() == [0, 1, 1, 1]


def fixed32(values: Sequence[float]) -> list[bytes]:
    return [struct.pack("<f", value) for value in values]


def fixed64(values: Sequence[float]) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


def varints(values: Sequence[int]) -> list[bytes]:
    return [varint(value % 2**64) for value in values]


# Number and wire type of each numeric field, and how its elements are written.
WIRE_FIELDS: dict[str, tuple[int, int, Callable[[Any], list[bytes]]]] = {
    "float_val": (5, 5, fixed32),
    "double_val": (6, 1, fixed64),
    "int_val": (7, 0, varints),
    "scomplex_val": (9, 5, fixed32),
    "int64_val": (10, 0, varints),
    "bool_val": (11, 0, varints),
    "dcomplex_val": (12, 1, fixed64),
    "half_val": (13, 0, varints),
    "uint32_val": (16, 0, varints),
    "uint64_val": (17, 0, varints),
}


def packed(number: int, elements: Sequence[bytes]) -> bytes:
    payload = b"".join(elements)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def unpacked(number: int, wire_type: int, elements: Sequence[bytes]) -> bytes:
    return b"".join(varint(number << 3 | wire_type) + element for element in elements)


class TestWireForms:
    @pytest.mark.parametrize("form", ["packed", "unpacked", "half of each"])
    @pytest.mark.parametrize("dtype", sorted(set(DType) - {DType.STRING}), ids=lambda d: d.name)
    def test_packed_and_unpacked_values_read_alike(self, dtype: DType, form: str) -> None:
        field, values, wire_values = TYPED_FIELDS[dtype]
        number, wire_type, write = WIRE_FIELDS[field]
        elements = write(wire_values)
        cut = {"packed": len(elements), "unpacked": 0, "half of each": 2}[form]
        body = proto_of(dtype, 3).SerializeToString()
        body += packed(number, elements[:cut]) + unpacked(number, wire_type, elements[cut:])

        array = tensors.decode("x", TensorProto.FromString(body))

        np.testing.assert_array_equal(array, array_of(dtype, values))

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_what_is_written_is_what_protobuf_writes(self, dtype: DType) -> None:
        field, values, wire_values = TYPED_FIELDS[dtype]

        proto = tensors.encode(array_of(dtype, values, (3, 1)))

        expected = proto_of(dtype, 3, 1, **{field: wire_values})
        assert proto.SerializeToString(deterministic=True) == expected.SerializeToString(
            deterministic=True
        )


def elements_of(dtype: DType) -> st.SearchStrategy[Any]:
    if dtype is DType.STRING:
        return st.binary(max_size=200)
    if dtype is DType.BOOL:
        return st.booleans()
    if dtype is DType.BFLOAT16:
        return st.integers(0, 65535).map(lambda bits: np.uint16(bits).view(ml_dtypes.bfloat16))
    return hnp.from_dtype(dtype.numpy)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Return an array of any dtype, of rank 0 to 5."""
    dtype = draw(st.sampled_from(ALL_DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3))
    size = int(np.prod(shape))
    values = draw(st.lists(elements_of(dtype), min_size=size, max_size=size))
    array = np.empty(size, dtype.numpy)
    for index, value in enumerate(values):
        array[index] = value
    return array.reshape(shape)


class TestRoundTrips:
    @given(array=arrays(), as_content=st.booleans())
    def test_what_is_written_is_read_back(self, array: Array, as_content: bool) -> None:
        body = tensors.encode(array, as_content=as_content).SerializeToString()

        again = tensors.decode("x", TensorProto.FromString(body))

        assert_same(again, array)

    @pytest.mark.parametrize("as_content", [False, True], ids=["typed fields", "content"])
    @pytest.mark.parametrize("rank", range(6))
    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_every_dtype_and_rank_comes_back(
        self, dtype: DType, rank: int, as_content: bool
    ) -> None:
        values = TYPED_FIELDS[dtype][1]
        shape = ((), (3,), (3, 1), (1, 3, 2), (2, 1, 3, 2), (1, 2, 3, 1, 2))[rank]
        array = np.resize(array_of(dtype, values), shape).astype(dtype.numpy)

        again = tensors.decode("x", tensors.encode(array, as_content=as_content))

        assert again.shape == shape
        np.testing.assert_array_equal(again, array)

    @pytest.mark.parametrize("as_content", [False, True], ids=["typed fields", "content"])
    def test_the_order_of_elements_is_that_of_rows_whatever_the_memory(
        self, as_content: bool
    ) -> None:
        base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        for array in (base.T, base[:, ::2, 1:], np.asfortranarray(base), base[::-1]):
            again = tensors.decode("x", tensors.encode(array, as_content=as_content))
            np.testing.assert_array_equal(again, array)

    @pytest.mark.parametrize("dtype", ALL_DTYPES, ids=lambda d: d.name)
    def test_only_one_of_field_and_content_is_written(self, dtype: DType) -> None:
        field, values, _ = TYPED_FIELDS[dtype]
        array = array_of(dtype, values)

        typed = {f.name for f, _ in tensors.encode(array).ListFields()}
        content = {f.name for f, _ in tensors.encode(array, as_content=True).ListFields()}

        assert typed == {"dtype", "tensor_shape", field}
        assert content == {"dtype", "tensor_shape", "tensor_content"}

    def test_equal_elements_are_all_written(self) -> None:
        proto = tensors.encode(np.full(100, 7, np.int32))

        assert len(proto.int_val) == 100

    def test_a_numpy_dtype_without_wire_form_is_not_served(self) -> None:
        with pytest.raises(Unimplemented, match="datetime64"):
            tensors.encode(np.zeros(2, "datetime64[s]"))


LONG_VARINT = b"\x80" * 10 + b"\x01"

HOSTILE = {
    "a negative size": proto_of(1, 2, -1, float_val=[1]),
    "the lowest size": proto_of(1, -(2**63)),
    "two negative sizes": proto_of(1, -2, -3, float_val=[1]),
    "a negative size and one of 0": proto_of(1, 0, -1),
    "unknown rank": TensorProto(
        dtype=1,  # type: ignore[arg-type]
        tensor_shape=TensorShapeProto(unknown_rank=True),
        float_val=[1],
    ),
    "unknown rank beside sizes": TensorProto(
        dtype=1,  # type: ignore[arg-type]
        tensor_shape=TensorShapeProto(unknown_rank=True, dim=[TensorShapeProto.Dim(size=1)]),
        float_val=[1],
    ),
    "rank over 32": proto_of(1, *[1] * 33, float_val=[1]),
    "a rank in the thousands": proto_of(1, *[1] * 5000, float_val=[1]),
    "a huge fill": proto_of(1, 2**40, float_val=[1]),
    "a huge fill with zeros": proto_of(1, 2**62),
    "a huge fill of strings": proto_of(7, 2**30, string_val=[b"x"]),
    "more elements than can be counted in 64 bits": proto_of(1, 2**62, 2**62, float_val=[1]),
    "no element of a size beyond memory": proto_of(1, 0, 2**62, 2**62),
    "no element of a size beyond memory, in content": proto_of(7, 2**62, 2**62, 0),
    "content too short": proto_of(1, 2, tensor_content=b"\0" * 7),
    "content too long": proto_of(1, 2, tensor_content=b"\0" * 9),
    "content for no element": proto_of(1, 0, tensor_content=b"\0"),
    "content of a huge tensor": proto_of(1, 2**62, 2**62, tensor_content=b"\0"),
    "content of half an element": proto_of(1, tensor_content=b"\0\0"),
    "strings longer than the content": proto_of(7, 1, tensor_content=varint(5) + b"abcd"),
    "strings shorter than the content": proto_of(7, 1, tensor_content=varint(3) + b"abcd"),
    "more strings than bytes": proto_of(7, 2**62, tensor_content=b"\0\0\0"),
    "content without strings": proto_of(7, 0, tensor_content=b"\0"),
    "lengths cut short": proto_of(7, 2, tensor_content=b"\x01\x80"),
    "a length without end": proto_of(7, 1, tensor_content=LONG_VARINT),
    "a length beyond memory": proto_of(7, 1, tensor_content=b"\xff" * 9 + b"\x01" + b"abc"),
    "lengths that only sum up": proto_of(
        7, 2, tensor_content=varint(2**63) + varint(2**63) + b"ab"
    ),
    "no dtype": proto_of(0, 1, float_val=[1]),
    "an unknown dtype": proto_of(77, 1, float_val=[1]),
    "a negative dtype": proto_of(-1, 1, float_val=[1]),
    "a reference dtype": proto_of(101, 1, float_val=[1]),
    "a quantized dtype": proto_of(11, 1, int_val=[1]),
    "a resource": proto_of(20, 1),
    "a variant": proto_of(21, 1),
    "a float8": proto_of(24, 1, float8_val=b"\0"),
}


BOMBS = {
    "strings": proto_of(7, 2**25, string_val=[b"x"]),
    "strings, none given": proto_of(7, 2**22),
    "long strings": proto_of(7, 4096, string_val=[b"x" * 60_000]),
    "floats": proto_of(1, 2**26, float_val=[1]),
    "floats in dimensions": proto_of(1, 2**13, 2**13, float_val=[1]),
    "bytes, none given": proto_of(4, 2**27),
    "complex": proto_of(18, 2**23, dcomplex_val=[1, 2]),
}


class TestHostileInput:
    @pytest.mark.parametrize("proto", HOSTILE.values(), ids=HOSTILE)
    def test_it_is_a_parsing_error_of_that_input(self, proto: TensorProto) -> None:
        # Read again from bytes, as protobuf keeps some of it apart from what was assigned.
        received = TensorProto.FromString(proto.SerializeToString())

        with pytest.raises(InvalidArgument, match=r"^tensor parsing error: image"):
            tensors.decode("image", received)

    def test_a_fill_that_fits_is_allowed(self) -> None:
        array = tensors.decode("x", proto_of(DType.FLOAT, 1000, 1000, float_val=[1]))

        assert array.shape == (1000, 1000)
        assert array.min() == array.max() == 1

    @pytest.mark.parametrize("proto", BOMBS.values(), ids=BOMBS)
    def test_a_few_values_do_not_become_a_huge_tensor(self, proto: TensorProto) -> None:
        with pytest.raises(
            InvalidArgument,
            match=r"^tensor parsing error: x: .*shape \[.*\d+ bytes would become \d+; 67108864 may",
        ):
            tensors.decode("x", proto)

    def test_a_bomb_in_small_parts_is_one_too(self) -> None:
        parts = {f"x{n}": proto_of(DType.FLOAT, 1 << 22, float_val=[1]) for n in range(5)}
        five_inputs = signature(dict.fromkeys(parts, DType.FLOAT), {})

        with pytest.raises(InvalidArgument, match=r"^tensor parsing error: x4"):
            tensors.input_arrays(parts, five_inputs)

    def test_much_may_become_more(self) -> None:
        values = [1.0] * (1 << 21)

        array = tensors.decode("x", proto_of(DType.FLOAT, 1 << 25, float_val=values))

        assert array.shape == (1 << 25,)

    def test_what_decoding_writes_is_known_before(self) -> None:
        fill = proto_of(DType.FLOAT, 1000, 1000, float_val=[1])

        assert tensors.decoding_bytes({"x": fill, "y": proto_of(1, 1, float_val=[1])}) == 3_999_996
        assert tensors.decoding_bytes(BOMBS) == 0

    def test_a_rank_of_32_is_allowed(self) -> None:
        array = tensors.decode("x", proto_of(DType.FLOAT, *[1] * 32, float_val=[5]))

        assert array.shape == (1,) * 32

    @given(
        dtype=st.integers(-1, 35),
        sizes=st.lists(st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**62, 2**63 - 1]), max_size=5),
        content=st.binary(max_size=24),
        values=st.lists(st.integers(0, 2**31 - 1), max_size=4),
    )
    def test_nothing_but_an_array_or_a_parsing_error_comes_of_anything(
        self, dtype: int, sizes: list[int], content: bytes, values: list[int]
    ) -> None:
        proto = proto_of(dtype, *sizes, tensor_content=content, int_val=values, half_val=values)

        with contextlib.suppress(InvalidArgument):
            array = tensors.decode("x", proto)
            assert array.shape == tuple(sizes)
            assert array.dtype == DType(dtype).numpy


class TestInputs:
    def test_the_inputs_of_a_request_are_decoded_by_alias(self) -> None:
        two_inputs = signature({"a": DType.FLOAT, "b": DType.INT32}, {"y": DType.FLOAT})

        arrays = tensors.input_arrays(
            {"a": proto_of(1, 1, float_val=[1.5]), "b": proto_of(3, 1, int_val=[2])}, two_inputs
        )

        assert {alias: array.tolist() for alias, array in arrays.items()} == {"a": [1.5], "b": [2]}

    def test_names_are_checked_before_anything_is_decoded(self) -> None:
        with pytest.raises(InvalidArgument, match="input size does not match signature"):
            tensors.input_arrays({}, signature({"a": DType.FLOAT}, {}))

    def test_an_input_with_a_default_may_be_left_out(self) -> None:
        optional = signature(
            {"a": DType.FLOAT, "b": DType.FLOAT}, {}, defaults={"b": array_of(DType.FLOAT, [3])}
        )

        arrays = tensors.input_arrays({"a": proto_of(1, 1, float_val=[1.5])}, optional)

        assert list(arrays) == ["a"]

    def test_the_error_names_the_input_that_does_not_decode(self) -> None:
        two_inputs = signature({"a": DType.FLOAT, "b": DType.INT32}, {})

        with pytest.raises(InvalidArgument, match=r"^tensor parsing error: b"):
            tensors.input_arrays({"a": proto_of(1), "b": proto_of(3, -1)}, two_inputs)
