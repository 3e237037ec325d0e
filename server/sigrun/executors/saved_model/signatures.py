"""A SignatureDef of TensorFlow's, as the rest of the server sees it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from sigrun.executors.saved_model.boundary import tf
from sigrun.servables.signature import DType, Signature, TensorSpec

_REFERENCE = 100  # DT_FLOAT_REF is 101: what variables of TensorFlow 1 are typed


def read_signature(name: str, definition: Any) -> Signature:
    """Return the signature that the SignatureDef `definition` describes."""
    return Signature(
        name=name,
        method_name=definition.method_name,
        inputs=_specs(definition.inputs),
        outputs=_specs(definition.outputs),
        defaults=MappingProxyType(
            {alias: tf.make_ndarray(proto) for alias, proto in definition.defaults.items()}
        ),
        definition=definition.SerializeToString(deterministic=True),
    )


def _specs(tensors: Any) -> MappingProxyType[str, TensorSpec]:
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
