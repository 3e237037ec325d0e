"""What this package writes TensorFlow reads, and the other way round, as serialized bytes."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun.errors import InvalidArgument
from sigrun.tensors.signature import Array, DType
from sigrun.wire.protobuf import tensors
from tests.arrays import assert_same

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(180)]  # importing it takes seconds

VALUES: dict[DType, list[Any]] = {
    DType.FLOAT: [0.1, -np.inf, np.nan, 0, 3.4e38, 1],
    DType.DOUBLE: [0.1, -np.inf, np.nan, 0, 1e300, 1],
    DType.INT32: [-(2**31), -1, 0, 1, 2, 2**31 - 1],
    DType.UINT8: [0, 1, 2, 3, 254, 255],
    DType.INT16: [-(2**15), -1, 0, 1, 2, 2**15 - 1],
    DType.INT8: [-128, -1, 0, 1, 2, 127],
    DType.STRING: [b"", b"a", b"\xff\0", "ä".encode(), b"x" * 300, b"end\0\0"],
    DType.COMPLEX64: [1 + 2j, -1j, 0, 0.5, 3e38j, 1],
    DType.INT64: [-(2**63), -1, 0, 1, 2, 2**63 - 1],
    DType.BOOL: [True, False, False, True, True, False],
    DType.BFLOAT16: [0.1, -np.inf, np.nan, 0, 3e38, 1],
    DType.UINT16: [0, 1, 2, 3, 4, 65535],
    DType.COMPLEX128: [1 + 2j, -1j, 0, 0.5, 1e300j, 1],
    DType.HALF: [0.1, -np.inf, np.nan, 0, 65504, 1],
    DType.UINT32: [0, 1, 2, 3, 4, 2**32 - 1],
    DType.UINT64: [0, 1, 2, 3, 4, 2**64 - 1],
}
SHAPES = [(6,), (2, 3), (1, 3, 1, 2), (0,), (2, 0)]

ALL_DTYPES = pytest.mark.parametrize("dtype", sorted(DType), ids=lambda dtype: dtype.name)
ALL_SHAPES = pytest.mark.parametrize("shape", SHAPES, ids=str)


def array_of(dtype: DType, shape: tuple[int, ...]) -> Array:
    values = np.array(VALUES[dtype], dtype.numpy)
    return values[: int(np.prod(shape))].reshape(shape)


class TensorFlow:
    """TensorFlow's own readers and writers, from and to our messages and bytes."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("tensorflow")
        self._proto: Any = importlib.import_module("tensorflow.core.framework.tensor_pb2")

    def parse(self, proto: TensorProto) -> Array:
        """Return what the kernels make of `proto`, as strict as when serving."""
        dtype = DType(proto.dtype)
        tensor = self.module.io.parse_tensor(proto.SerializeToString(), int(dtype))
        return np.asarray(tensor.numpy(), dtype.numpy)

    def make_ndarray(self, proto: TensorProto) -> Array:
        """Return what the Python function makes of `proto`."""
        theirs = self._proto.TensorProto.FromString(proto.SerializeToString())
        return np.asarray(self.module.make_ndarray(theirs), DType(proto.dtype).numpy)

    def serialize(self, array: Array, dtype: DType) -> TensorProto:
        """Return `array` as the kernels write it."""
        tensor = self.module.constant(array, int(dtype))
        return TensorProto.FromString(self.module.io.serialize_tensor(tensor).numpy())

    def make_tensor_proto(
        self, values: Any, dtype: DType, shape: tuple[int, ...] | None = None
    ) -> TensorProto:
        """Return `values` as the Python function writes them."""
        theirs = self.module.make_tensor_proto(values, dtype=int(dtype), shape=shape)
        return TensorProto.FromString(theirs.SerializeToString())


@pytest.fixture(scope="module")
def tf() -> TensorFlow:
    return TensorFlow()


@ALL_DTYPES
@ALL_SHAPES
def test_tensorflow_reads_what_is_written_to_typed_fields(
    tf: TensorFlow, dtype: DType, shape: tuple[int, ...]
) -> None:
    array = array_of(dtype, shape)

    assert_same(tf.parse(tensors.encode(array)), array)
    assert_same(tf.make_ndarray(tensors.encode(array)), array)


@ALL_DTYPES
@ALL_SHAPES
def test_tensorflow_reads_what_is_written_to_content(
    tf: TensorFlow, dtype: DType, shape: tuple[int, ...]
) -> None:
    array = array_of(dtype, shape)

    assert_same(tf.parse(tensors.encode(array, as_content=True)), array)


@ALL_DTYPES
@ALL_SHAPES
def test_what_tensorflow_writes_is_read(
    tf: TensorFlow, dtype: DType, shape: tuple[int, ...]
) -> None:
    array = array_of(dtype, shape)

    assert_same(tensors.decode("x", tf.make_tensor_proto(array, dtype)), array)
    assert_same(tensors.decode("x", tf.serialize(array, dtype)), array)


@ALL_DTYPES
def test_scalars_are_read_both_ways(tf: TensorFlow, dtype: DType) -> None:
    array = array_of(dtype, (1,)).reshape(())

    assert_same(tensors.decode("x", tf.make_tensor_proto(array[()], dtype)), array)
    assert_same(tf.parse(tensors.encode(array)), array)


@ALL_DTYPES
def test_one_value_for_all_is_filled_in_alike(tf: TensorFlow, dtype: DType) -> None:
    proto = tf.make_tensor_proto([VALUES[dtype][1]], dtype, (2, 3))

    assert_same(tensors.decode("x", proto), tf.parse(proto))


@ALL_DTYPES
def test_no_value_is_zero_for_both(tf: TensorFlow, dtype: DType) -> None:
    proto = tensors.encode(array_of(dtype, (0,)))
    proto.tensor_shape.dim[0].size = 3

    assert_same(tensors.decode("x", proto), tf.parse(proto))


@ALL_DTYPES
def test_surplus_values_are_ignored_by_both(tf: TensorFlow, dtype: DType) -> None:
    proto = tensors.encode(array_of(dtype, (6,)))
    proto.tensor_shape.dim[0].size = 2

    assert_same(tensors.decode("x", proto), array_of(dtype, (2,)))
    assert_same(tf.parse(proto), array_of(dtype, (2,)))


def with_content(dtype: DType, content: bytes, *sizes: int) -> TensorProto:
    proto = tensors.encode(np.empty((0,) * len(sizes), dtype.numpy))
    for dim, size in zip(proto.tensor_shape.dim, sizes, strict=True):
        dim.size = size
    proto.tensor_content = content
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        with_content(DType.FLOAT, b"1234567", 2),
        with_content(DType.FLOAT, b"123456789", 2),
        with_content(DType.FLOAT, b"1234", -1),
        with_content(DType.STRING, b"\x05abcd", 1),
        with_content(DType.STRING, b"\x03abcd", 1),
        with_content(DType.STRING, b"\x80", 1),
        with_content(DType.INT32, b"1234", 2**62, 2**62),
    ],
    ids=range(7),
)
def test_what_tensorflow_refuses_is_refused(tf: TensorFlow, proto: TensorProto) -> None:
    with pytest.raises(tf.module.errors.InvalidArgumentError):
        tf.parse(proto)

    with pytest.raises(InvalidArgument):
        tensors.decode("x", proto)
