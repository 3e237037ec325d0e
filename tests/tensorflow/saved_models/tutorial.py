"""TensorFlow Serving's tutorial model, half_plus_two, in every layout a SavedModel can have.

Built as its own script builds it: a TensorFlow 1 graph, variables that are references, an asset
file, and signatures of all three methods.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorflow as tf

from . import graphs
from .graphs import Layout, MetaGraph

ASSET_NAME = "foo.txt"
ASSET_TEXT = "asset-file-contents"


def half_plus_two(path: Path, *, b: float = 2.0, layout: Layout | None = None) -> None:
    """Write y = 0.5 * x + b, y2 = 0.5 * x + 3 and y3 = 0.5 * x2 + 3.

    serving_default   predict   x float [-1, 1]                  -> y float [-1, 1]
    regress_x_to_y    regress   inputs string (tf.Example) [?]   -> outputs float [-1, 1]
    regress_x_to_y2   regress   inputs string (tf.Example) [?]   -> outputs float [-1, 1]
    regress_x2_to_y3  regress   inputs float [-1, 1]             -> outputs float [-1, 1]
    classify_x_to_y   classify  inputs string (tf.Example) [?]   -> scores float [-1, 1]
    classify_x2_to_y3 classify  inputs float [-1, 1]             -> scores float [-1, 1]

    [?]: the rank is unknown. A tf.Example has `x` and may have `x2` (0 without). As in TensorFlow
    Serving a fed x needn't have the declared shape: the tutorial sends [1.0, 2.0, 5.0].
    """
    with tempfile.TemporaryDirectory() as folder:
        asset = Path(folder) / ASSET_NAME
        asset.write_text(ASSET_TEXT, encoding="utf-8")
        graphs.write(path, lambda: _half_plus(b, asset), layout)


def half_plus_three(path: Path) -> None:
    """Write half_plus_two with b = 3."""
    half_plus_two(path, b=3.0)


def half_plus_two_as_text(path: Path) -> None:
    """Write half_plus_two as saved_model.pbtxt."""
    half_plus_two(path, layout=Layout(as_text=True))


def half_plus_two_for_gpu(path: Path) -> None:
    """Write half_plus_two under the tag set {serve, gpu} only."""
    half_plus_two(path, layout=Layout(tag_sets=[["serve", "gpu"]]))


def half_plus_two_meta_graphs(path: Path) -> None:
    """Write half_plus_two with two MetaGraphs: {serve} and {serve, gpu}."""
    half_plus_two(path, layout=Layout(tag_sets=[["serve"], ["serve", "gpu"]]))


def half_plus_two_for_training(path: Path) -> None:
    """Write half_plus_two under the tag {train} only, which a server doesn't load unasked."""
    half_plus_two(path, layout=Layout(tag_sets=[["train"]]))


def _half_plus(b_value: float, asset: Path) -> MetaGraph:
    a = _variable(0.5, "a")
    b = _variable(b_value, "b")
    c = _variable(3.0, "c")
    examples = graphs.placeholder(tf.string, name="tf_example")
    x, x2 = _features(examples)
    y = tf.add(tf.multiply(a, x), b, name="y")
    y2 = tf.add(tf.multiply(a, x), c, name="y2")
    y3 = tf.add(tf.multiply(a, x2), c, name="y3")
    asset_path = tf.constant(str(asset), name="filename_tensor")
    return MetaGraph(
        signatures={
            "serving_default": graphs.signature({"x": x}, {"y": y}),
            "regress_x_to_y": graphs.regress(examples, y),
            "regress_x_to_y2": graphs.regress(examples, y2),
            "regress_x2_to_y3": graphs.regress(x2, y3),
            "classify_x_to_y": graphs.classify(examples, scores=y),
            "classify_x2_to_y3": graphs.classify(x2, scores=y3),
        },
        assets=[_into_assets(asset_path)],
        main_op=_remember(asset_path),
    )


def _variable(value: float, name: str) -> tf.Variable:
    return tf.compat.v1.Variable(value, name=name, use_resource=False)


def _features(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    features = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
    }
    parsed = tf.compat.v1.parse_example(examples, features)
    return tf.identity(parsed["x"], name="x"), tf.identity(parsed["x2"], name="x2")


def _into_assets(path: tf.Tensor) -> tf.Tensor:
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, path)
    return path


def _remember(asset_path: tf.Tensor) -> tf.Operation:
    """Return the main op: it keeps the asset's path in a variable, as the original does."""
    filename = tf.compat.v1.Variable(
        "", name="filename", trainable=False, collections=[], use_resource=False
    )
    return tf.group(tf.compat.v1.assign(filename, asset_path))
