"""Read a PyTorch state dict with pickle and numpy alone.

In: the bytes of a `.pth` file in PyTorch's format before 1.6. Out: arrays by their names.

The file is a row of pickles (magic number, protocol version, system information, the dict, the keys
of its storages), then of each storage the number of elements and their bytes. A tensor in the dict
points into a storage, so its array is made at the end. The unpickler knows nothing but what a state
dict is made of, so that a file cannot run code.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4"}

Array = np.ndarray[Any, np.dtype[Any]]


def read_state_dict(data: bytes) -> dict[str, Array]:
    """Return the arrays of a state dict; raise UnpicklingError for any other file."""
    file = io.BytesIO(data)
    magic, _protocol, _system, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    if magic != MAGIC:
        raise pickle.UnpicklingError("not a state dict in PyTorch's format before 1.6")
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    storages = {key: _read_storage(file, dtypes[key]) for key in keys}
    return {name: tensor.array(storages) for name, tensor in tensors.items()}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    """What PyTorch's `_rebuild_tensor_v2` is called with; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    backward_hooks: Mapping[str, object]

    def array(self, storages: Mapping[str, Array]) -> Array:
        """Return a copy of the tensor's elements."""
        elements = storages[self.storage.key][self.offset :]
        strides = [stride * elements.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(elements, self.shape, strides).copy()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return _Tensor
            case "torch", _ if name in DTYPES:
                return np.dtype(DTYPES[name])
        raise pickle.UnpicklingError(f"a state dict does not need {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"a state dict points to storages, not to {kind!r}")
        return _Storage(key, dtype)


def _read_storage(file: io.BytesIO, dtype: np.dtype[Any]) -> Array:
    (elements,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(elements * dtype.itemsize), dtype)
