"""Write a SavedModel from a TensorFlow 1 graph, and describe its signatures.

In: a function that builds a graph and returns a `MetaGraph`. Out: a SavedModel directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

CLASSIFY = "tensorflow/serving/classify"
PREDICT = "tensorflow/serving/predict"
REGRESS = "tensorflow/serving/regress"

type_of = tf.compat.v1.saved_model.build_tensor_info
placeholder = tf.compat.v1.placeholder


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaGraph:
    """What a graph offers, with what has to run when it is loaded."""

    signatures: Mapping[str, Any]  # name -> SignatureDef
    assets: Sequence[Any] = ()  # tensors that hold the path of an asset file
    main_op: Any = None  # runs after variables are restored


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the SavedModel is written."""

    tag_sets: Sequence[Sequence[str]] = field(default_factory=lambda: (("serve",),))
    as_text: bool = False


def write(path: Path, build: Callable[[], MetaGraph], layout: Layout | None = None) -> None:
    """Write what `build` makes in a fresh graph to `path`, once for each tag set."""
    layout = layout or Layout()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = build()
        session.run(tf.compat.v1.global_variables_initializer())
        builder = tf.compat.v1.saved_model.Builder(str(path))
        first, *others = layout.tag_sets
        contents = {
            "signature_def_map": dict(meta_graph.signatures),
            "assets_collection": list(meta_graph.assets),
            "strip_default_attrs": True,
        }
        builder.add_meta_graph_and_variables(
            session, list(first), main_op=meta_graph.main_op, **contents
        )
        for tags in others:  # the main op is in the graph's collections by now
            builder.add_meta_graph(list(tags), **contents)
        builder.save(as_text=layout.as_text)


def signature(
    inputs: Mapping[str, Any], outputs: Mapping[str, Any], method_name: str = PREDICT
) -> Any:
    """Return a SignatureDef from named tensors."""
    return tf.compat.v1.saved_model.build_signature_def(
        inputs={alias: type_of(tensor) for alias, tensor in inputs.items()},
        outputs={alias: type_of(tensor) for alias, tensor in outputs.items()},
        method_name=method_name,
    )


def classify(examples: Any, **outputs: Any) -> Any:
    """Return a classify signature: `inputs` -> `classes` and/or `scores`."""
    return signature({"inputs": examples}, outputs, CLASSIFY)


def regress(examples: Any, outputs: Any) -> Any:
    """Return a regress signature: `inputs` -> `outputs`."""
    return signature({"inputs": examples}, {"outputs": outputs}, REGRESS)
