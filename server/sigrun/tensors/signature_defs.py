"""The tensors of a SignatureDef, TensorFlow's message or our own, as specs by alias."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from sigrun.tensors.signature import DType, TensorSpec

_REFERENCE = 100  # DT_FLOAT_REF is 101: what variables of TensorFlow 1 are typed


def read_specs(tensors: Any) -> MappingProxyType[str, TensorSpec]:
    """Return the specs of `tensors`, a map from alias to `TensorInfo`."""
    # In order of alias: a protobuf map has none, and the order must not change from one
    # start to the next.
    return MappingProxyType({alias: _spec(tensors[alias]) for alias in sorted(tensors)})


def _spec(info: Any) -> TensorSpec:
    return TensorSpec(name=info.name, dtype=_dtype(info.dtype), shape=_shape(info.tensor_shape))


def _dtype(number: int) -> DType | None:
    try:
        return DType(number - _REFERENCE if number > _REFERENCE else number)
    except ValueError:
        return None


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
