"""A SignatureDef of TensorFlow's, as the rest of the server sees it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from sigrun.executors.saved_model.tensorflow_imports import tf
from sigrun.tensors.signature import Signature
from sigrun.tensors.signature_defs import read_specs


def read_signature(name: str, definition: Any) -> Signature:
    """Return the signature that the SignatureDef `definition` describes."""
    return Signature(
        name=name,
        method_name=definition.method_name,
        inputs=read_specs(definition.inputs),
        outputs=read_specs(definition.outputs),
        defaults=MappingProxyType(
            {alias: tf.make_ndarray(proto) for alias, proto in definition.defaults.items()}
        ),
        definition=definition.SerializeToString(deterministic=True),
    )
