"""SavedModels of TensorFlow 2: modules, tables with assets, Keras 3 models saved in several ways.

A Keras 3 model that hangs on a module, or is saved itself, with `tf.saved_model.save` can't be run
as it is in a session. Each `keras.Variable` is written as two resources: the `tf.Variable` inside
it, which the signatures read (`sequential/dense/kernel`), and a copy of that (`Variable`,
`Variable_1`, ...), which the restore op assigns. The first is never initialised, and a signature
that reads it fails with FAILED_PRECONDITION `Could not find variable sequential/dense/kernel`.
`tf.saved_model.load` restores by the object graph and isn't affected; and where the tf.Variables
(`keras_variable.value`) are tracked too, as ExportArchive does, the signatures read a resource of
theirs (`sequential/dense/kernel_1`), which is restored.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from .kinds_v1 import WORDS


def module(path: Path) -> None:
    """Write a tf.Module with several inputs, outputs and signatures; `weight` is a variable, 3.

    serving_default  predict  a float [-1], b float [-1]  -> product, sum float [-1]
    weigh            predict  x float [-1, 2]             -> y float [-1, 2]: weight * x
    scaled           predict  x float [-1], scale float [] (default 2.0) -> y float [-1]
    lengths          predict  text string [-1]            -> bytes int32 [-1], upper string [-1]
    """
    saved = tf.Module()
    saved.weight = weight = tf.Variable(3.0, name="weight")
    vector = tf.TensorSpec([None], tf.float32)

    def scaled(x: tf.Tensor, scale: tf.Tensor = tf.constant(2.0)) -> dict[str, tf.Tensor]:  # noqa: B008
        return {"y": x * scale}

    tf.saved_model.save(
        saved,
        str(path),
        signatures={
            "serving_default": tf.function(
                lambda a, b: {"sum": a + b, "product": a * b}, input_signature=[vector, vector]
            ),
            "weigh": tf.function(
                lambda x: {"y": weight * x},
                input_signature=[tf.TensorSpec([None, 2], tf.float32)],
            ),
            "scaled": tf.function(scaled, input_signature=[vector, tf.TensorSpec([], tf.float32)]),
            "lengths": tf.function(
                lambda text: {"bytes": tf.strings.length(text), "upper": tf.strings.upper(text)},
                input_signature=[tf.TensorSpec([None], tf.string)],
            ),
        },
    )


def vocabulary_v2(path: Path) -> None:
    """Write a StaticHashTable that is filled from an asset file.

    serving_default  predict  word string [-1]  -> id int64 [-1]: index in WORDS, else -1
    """
    with tempfile.TemporaryDirectory() as folder:
        asset = Path(folder) / "vocabulary.txt"
        asset.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        index = tf.lookup.TextFileIndex
        saved = tf.Module()
        saved.asset = tf.saved_model.Asset(str(asset))
        saved.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                saved.asset.asset_path, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
            ),
            default_value=-1,
        )
        find = tf.function(
            lambda word: {"id": saved.table.lookup(word)},
            input_signature=[tf.TensorSpec([None], tf.string)],
        )
        tf.saved_model.save(saved, str(path), signatures={"serving_default": find})


def keras_export(path: Path) -> None:
    """Write a Keras 3 model with `model.export`; it runs in a session.

    serving_default  predict  x float [-1, 3]  -> output_0 float [-1, 1]: 0.5 * sum(x) + 1
    serve            predict  (the same)
    """
    _keras_model().export(path, verbose=False)


def keras_export_archive(path: Path) -> None:
    """Write a Keras 3 model with `keras.export.ExportArchive`; it runs in a session.

    serve            predict  x float [-1, 3]  -> output_0 float [-1, 1]: 0.5 * sum(x) + 1
    serving_default  predict  (the same)
    hidden           predict  x float [-1, 3]  -> output_0 float [-1, 3]: 0.5 * x
    """
    model = _keras_model()
    rows = [tf.TensorSpec([None, 3], tf.float32, name="x")]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model.call, input_signature=rows)
    archive.add_endpoint("hidden", model.layers[0].call, input_signature=rows)
    archive.write_out(path, verbose=False)


def keras_in_module(path: Path) -> None:
    """Write a Keras 3 model in a bare tf.Module; it fails in a session (see the module's text).

    serving_default  predict  x float [-1, 3]  -> y float [-1, 1]: 0.5 * sum(x) + 1
    """
    saved = tf.Module()
    saved.model = model = _keras_model()
    _save_model(saved, model, path)


def keras_saved_directly(path: Path) -> None:
    """Write a Keras 3 model by `tf.saved_model.save(model)`; it fails in a session likewise.

    serving_default  predict  x float [-1, 3]  -> y float [-1, 1]: 0.5 * sum(x) + 1
    """
    model = _keras_model()
    _save_model(model, model, path)


def keras_values_in_module(path: Path) -> None:
    """Write keras_in_module with the tf.Variables tracked as well; it runs in a session.

    serving_default  predict  x float [-1, 3]  -> y float [-1, 1]: 0.5 * sum(x) + 1
    """
    saved = tf.Module()
    saved.model = model = _keras_model()
    saved.values = [variable.value for variable in model.variables]
    _save_model(saved, model, path)


def _keras_model() -> keras.Model:
    """Return two layers: x -> 0.5 * x -> sum + 1."""
    constant = keras.initializers.Constant
    return keras.Sequential(
        [
            keras.Input((3,), name="x"),
            keras.layers.Dense(3, kernel_initializer=keras.initializers.Identity(0.5)),
            keras.layers.Dense(1, kernel_initializer="ones", bias_initializer=constant(1.0)),
        ]
    )


def _save_model(saved: tf.Module, model: keras.Model, path: Path) -> None:
    call = tf.function(
        lambda x: {"y": model(x, training=False)},
        input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")],
    )
    tf.saved_model.save(saved, str(path), signatures={"serving_default": call})
