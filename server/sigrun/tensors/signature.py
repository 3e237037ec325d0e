"""What a model says of itself: signatures, and the tensors that go in and come out.

Made by an executor when a model is loaded; read by everything that checks, converts or
describes requests. Nothing here is looked up per request but a dict entry.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from sigrun.errors import Unimplemented

Array = NDArray[Any]
"""One tensor. Strings are object arrays of `bytes`; bfloat16 is `ml_dtypes.bfloat16`."""

MAX_RANK = 32
"""The most dimensions of a tensor in a request.

numpy takes 64, but TensorFlow walks through the strings of an array with an iterator for 32
dimensions: one more kills the process.
"""

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


class DType(enum.IntEnum):
    """The element types that a request can carry, numbered as `tensorflow.DataType`."""

    FLOAT = 1
    DOUBLE = 2
    INT32 = 3
    UINT8 = 4
    INT16 = 5
    INT8 = 6
    STRING = 7
    COMPLEX64 = 8
    INT64 = 9
    BOOL = 10
    BFLOAT16 = 14
    UINT16 = 17
    COMPLEX128 = 18
    HALF = 19
    UINT32 = 22
    UINT64 = 23

    @property
    def label(self) -> str:
        """TensorFlow's name of the type, such as `DT_FLOAT`."""
        return f"DT_{self.name}"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype that holds it."""
        return _NUMPY[self]


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.FLOAT: np.dtype(np.float32),
    DType.DOUBLE: np.dtype(np.float64),
    DType.INT32: np.dtype(np.int32),
    DType.UINT8: np.dtype(np.uint8),
    DType.INT16: np.dtype(np.int16),
    DType.INT8: np.dtype(np.int8),
    DType.STRING: np.dtype(object),
    DType.COMPLEX64: np.dtype(np.complex64),
    DType.INT64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
    DType.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    DType.UINT16: np.dtype(np.uint16),
    DType.COMPLEX128: np.dtype(np.complex128),
    DType.HALF: np.dtype(np.float16),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT64: np.dtype(np.uint64),
}
_BY_NUMPY = {dtype: kind for kind, dtype in _NUMPY.items()}


def dtype_of(array: Array) -> DType:
    """Return the element type of `array`.

    Raises `Unimplemented` for a numpy dtype that no tensor on the wire has.
    """
    try:
        return _BY_NUMPY[array.dtype]
    except KeyError:
        raise Unimplemented(f"Tensors of element type {array.dtype} are not served") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a signature.

    `name` is the tensor's name in the graph (`x:0`); empty for encodings without one.
    `dtype` is None for types that cannot travel in a request (resource, variant...).
    `shape` has None for a free dimension, and is None itself when the rank is unknown.
    """

    name: str
    dtype: DType | None
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        dtype = self.dtype.label if self.dtype is not None else "a type without wire form"
        return f"{dtype} {shape_text(self.shape)}"


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """Return `shape` as TensorFlow prints it: `[?,224,224,3]`, or `<unknown>`."""
    if shape is None:
        return "<unknown>"
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A named callable of a model: typed inputs and outputs, by alias.

    `defaults` holds the arrays of inputs that a request may leave out. `definition` is
    the model's own `tensorflow.SignatureDef`, serialized: what metadata answers with.
    `changes_state`: a call may change what the model holds, so that none is made unasked.
    """

    name: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    definition: bytes = b""
    changes_state: bool = False
