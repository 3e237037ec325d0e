"""SavedModels of TensorFlow 1 graphs: dtypes and ranks, tf.Examples, tables, state, defaults."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from . import graphs
from .graphs import MetaGraph

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "half",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "string",
)
RANKS = (0, 1, 2, 3, 4, 6)
CLASSES = ("ham", "spam", "unsure")
WORDS = ("apple", "banana", "cherry")


def identities(path: Path) -> None:
    """Write signatures that answer with their input.

    DTYPE      predict  x DTYPE [-1]             -> y DTYPE [-1]             for each of DTYPES
    rank_N     predict  x float [-1, -1, ...]    -> y float [-1, -1, ...]    for each of RANKS
    any_rank   predict  x float, rank unknown    -> y float, rank unknown
    fixed      predict  x float [2, 3]           -> y float [2, 3]
    """
    shapes: dict[str, tuple[Any, list[int | None] | None]]
    shapes = {name: (tf.as_dtype(name), [None]) for name in DTYPES}
    shapes |= {f"rank_{rank}": (tf.float32, [None] * rank) for rank in RANKS}
    shapes |= {"any_rank": (tf.float32, None), "fixed": (tf.float32, [2, 3])}

    def build() -> MetaGraph:
        signatures = {}
        for name, (dtype, shape) in shapes.items():
            x = graphs.placeholder(dtype, shape, name=f"{name}_x")
            signatures[name] = graphs.signature({"x": x}, {"y": tf.identity(x)})
        return MetaGraph(signatures=signatures)

    graphs.write(path, build)


def all_dtypes(path: Path) -> None:
    """Write one signature with an input of each dtype.

    serving_default  predict  DTYPE DTYPE [-1]  -> DTYPE DTYPE [-1]  for each of DTYPES
    """

    def build() -> MetaGraph:
        inputs = {name: graphs.placeholder(tf.as_dtype(name), [None]) for name in DTYPES}
        outputs = {name: tf.identity(tensor) for name, tensor in inputs.items()}
        return MetaGraph(signatures={"serving_default": graphs.signature(inputs, outputs)})

    graphs.write(path, build)


def multi_head(path: Path) -> None:
    """Write a classifier and a regression over the same tf.Examples with `x` float [2].

    scores = softmax([x0, x1, 0]), classes = CLASSES, value = x0 + 2 * x1

    serving_default      classify  inputs string [-1]  -> classes string, scores float [-1, 3]
    classify             classify  (the same)
    classify_classes     classify  inputs string [-1]  -> classes string [-1, 3]
    classify_scores      classify  inputs string [-1]  -> scores float [-1, 3]
    regress              regress   inputs string [-1]  -> outputs float [-1, 1]
    regress_flat         regress   inputs string [-1]  -> outputs float [-1]
    predict              predict   x float [-1, 2]     -> classes, scores [-1, 3], value [-1]
    predict_examples     predict   examples string [-1] -> scores float [-1, 3]
    """
    graphs.write(path, _multi_head)


def _multi_head() -> MetaGraph:
    examples = graphs.placeholder(tf.string, [None], name="examples")
    features = {"x": tf.io.FixedLenFeature([2], tf.float32)}
    x = tf.identity(tf.compat.v1.parse_example(examples, features)["x"], name="x")
    trunk = tf.matmul(x, tf.compat.v1.Variable([[1.0, 0.0, 1.0], [0.0, 1.0, 2.0]], name="trunk"))
    scores = tf.nn.softmax(tf.concat([trunk[:, :2], tf.zeros_like(trunk[:, :1])], axis=1))
    classes = tf.tile(tf.constant([CLASSES]), [tf.shape(x)[0], 1])
    value = trunk[:, 2]
    both = graphs.classify(examples, classes=classes, scores=scores)
    outputs = {"classes": classes, "scores": scores, "value": value}
    return MetaGraph(
        signatures={
            "serving_default": both,
            "classify": both,
            "classify_classes": graphs.classify(examples, classes=classes),
            "classify_scores": graphs.classify(examples, scores=scores),
            "regress": graphs.regress(examples, trunk[:, 2:]),
            "regress_flat": graphs.regress(examples, value),
            "predict": graphs.signature({"x": x}, outputs),
            "predict_examples": graphs.signature({"examples": examples}, {"scores": scores}),
        }
    )


def vocabulary_v1(path: Path) -> None:
    """Write a hash table that is filled from an asset file by the main op.

    serving_default  predict  word string [-1]  -> id int64 [-1]: index in WORDS, else -1
    """

    def build(asset: Path) -> MetaGraph:
        asset_path = tf.constant(str(asset), name="vocabulary")
        tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, asset_path)
        table = tf.lookup.StaticHashTable(_lines(asset_path), -1)
        word = graphs.placeholder(tf.string, [None], name="word")
        signature = graphs.signature({"word": word}, {"id": table.lookup(word)})
        return MetaGraph(
            signatures={"serving_default": signature},
            assets=[asset_path],
            main_op=tf.compat.v1.tables_initializer(),
        )

    with tempfile.TemporaryDirectory() as folder:
        asset = Path(folder) / "vocabulary.txt"
        asset.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        graphs.write(path, lambda: build(asset))


def _lines(asset_path: tf.Tensor) -> tf.lookup.TextFileInitializer:
    whole_line, line_number = (
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    return tf.lookup.TextFileInitializer(asset_path, tf.string, whole_line, tf.int64, line_number)


def counter(path: Path) -> None:
    """Write a model with state: a count that begins at 0 and lasts as long as the servable.

    incr_counter_by  predict  delta int64 []  -> count int64 []
    incr_counter     predict  (no inputs)     -> count int64 []
    get_counter      predict  (no inputs)     -> count int64 []
    reset_counter    predict  (no inputs)     -> count int64 []
    """

    def build() -> MetaGraph:
        count = tf.compat.v1.get_variable(
            "count", initializer=tf.constant(0, tf.int64), use_resource=True
        )
        delta = graphs.placeholder(tf.int64, [], name="delta")
        outputs = {
            "incr_counter": count.assign_add(1, read_value=True),
            "get_counter": tf.identity(count.read_value()),
            "reset_counter": count.assign(0, read_value=True),
        }
        signatures = {
            name: graphs.signature({}, {"count": tf.identity(tensor)})
            for name, tensor in outputs.items()
        }
        added = tf.identity(count.assign_add(delta, read_value=True))
        signatures["incr_counter_by"] = graphs.signature({"delta": delta}, {"count": added})
        return MetaGraph(signatures=signatures)

    graphs.write(path, build)


def default_inputs(path: Path) -> None:
    """Write a signature whose inputs have defaults in `SignatureDef.defaults`, but for x.

    serving_default  predict  x float [-1], scale float [] (2.0), offset float [] (1.0)
                              -> y float [-1]: x * scale + offset
    """

    def build() -> MetaGraph:
        x = graphs.placeholder(tf.float32, [None], name="x")
        scale = graphs.placeholder(tf.float32, [], name="scale")
        offset = graphs.placeholder(tf.float32, [], name="offset")
        inputs = {"x": x, "scale": scale, "offset": offset}
        signature = graphs.signature(inputs, {"y": x * scale + offset})
        signature.defaults["scale"].CopyFrom(tf.make_tensor_proto(2.0))
        signature.defaults["offset"].CopyFrom(tf.make_tensor_proto(1.0))
        return MetaGraph(signatures={"serving_default": signature})

    graphs.write(path, build)


def odd_outputs(path: Path) -> None:
    """Write signatures whose outputs aren't one row per input row.

    total      predict  x float [-1]       -> total float []
    constant   predict  x float [-1]       -> constant float [3]: 1, 2, 3 whatever x is
    twice      predict  x float [-1]       -> y float [-1]: the rows of x, then again
    nonzero    predict  x float [-1]       -> y float [-1]: the rows that aren't 0
    mixed      predict  x float [-1]       -> y float [-1]: x + 1; total float []
    scale      predict  x float [-1], factor float []  -> y float [-1]
    unequal    predict  x float [-1], z float [-1]  -> x, z as they came
    """

    def build() -> MetaGraph:
        x = graphs.placeholder(tf.float32, [None], name="x")
        z = graphs.placeholder(tf.float32, [None], name="z")
        factor = graphs.placeholder(tf.float32, [], name="factor")
        total = tf.reduce_sum(x)
        outputs = {
            "total": {"total": total},
            "constant": {"constant": tf.constant([1.0, 2.0, 3.0])},
            "twice": {"y": tf.concat([x, x], axis=0)},
            "nonzero": {"y": tf.boolean_mask(x, tf.not_equal(x, 0.0))},
            "mixed": {"y": x + 1.0, "total": total},
        }
        signatures = {name: graphs.signature({"x": x}, out) for name, out in outputs.items()}
        signatures["scale"] = graphs.signature({"x": x, "factor": factor}, {"y": x * factor})
        both = {"x": tf.identity(x), "z": tf.identity(z)}
        signatures["unequal"] = graphs.signature({"x": x, "z": z}, both)
        return MetaGraph(signatures=signatures)

    graphs.write(path, build)
