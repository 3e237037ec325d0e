"""Build the models: SavedModels of version 1 below `build`, the same ones on every machine.

Out: for each model also `build/examples/NAME.npz`, the inputs of one request (`in_NAME`) and the
outputs that every server must answer with (`out_NAME`). What is there already is left alone.
`build/models.config` lists the models as TensorFlow Serving reads it.
Usage: python -m benchmarks.models
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import paths

SEED = 7
LOADED_MODEL = "hundred_megabytes"
LOADED_MODEL_SIDE = 5_000  # squared, times 4 bytes: 100 MB

Arrays = dict[str, np.ndarray]


def missing_models() -> list[str]:
    """Return the names of the models that have yet to be built."""
    return [name for name in BUILDERS if not (paths.EXAMPLES / f"{name}.npz").exists()]


def build_missing() -> None:
    """Build what is missing, each under another name first: a model is whole or absent."""
    for name in missing_models():
        print(f"models: {name}", flush=True)
        unfinished = paths.BUILD / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        random = np.random.default_rng(SEED)
        inputs = BUILDERS[name](unfinished / "1", random)
        outputs = _answers(unfinished / "1", inputs)
        base_path = (paths.LOADED if name == LOADED_MODEL else paths.MODELS) / name
        shutil.rmtree(base_path, ignore_errors=True)
        base_path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(base_path)
        _write_example(name, inputs, outputs)


def write_config() -> None:
    """Write the list of models that the servers are given."""
    models = "".join(
        f'  config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
        for path in sorted(paths.MODELS.iterdir())
    )
    paths.CONFIG.write_text(f"model_config_list {{\n{models}}}\n")


def _answers(path: Path, inputs: Arrays) -> Arrays:
    """Return what TensorFlow itself answers, through the model's own signature."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    outputs = signature(**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def _write_example(name: str, inputs: Arrays, outputs: Arrays) -> None:
    arrays = {f"in_{key}": value for key, value in inputs.items()}
    arrays |= {f"out_{key}": value for key, value in outputs.items()}
    # Strings as bytes of one width: an array of objects would have to be pickled.
    plain: dict[str, Any] = {
        key: a.astype("S") if a.dtype == object else a for key, a in arrays.items()
    }
    paths.EXAMPLES.mkdir(parents=True, exist_ok=True)
    np.savez(paths.EXAMPLES / f"{name}.npz", **plain)


def _half_plus_two(path: Path, _: np.random.Generator) -> Arrays:
    import tensorflow as tf

    module = tf.Module()
    module.a, module.b = tf.Variable(0.5), tf.Variable(2.0)
    _save(path, module, lambda x: {"y": module.a * x + module.b}, x=tf.TensorSpec([None]))
    return {"x": np.array([1.0, 2.0, 5.0], np.float32)}


def _strings(path: Path, _: np.random.Generator) -> Arrays:
    import tensorflow as tf

    words = ["model", "servable", "source", "loader", "manager", "handle", "signature"]
    ids = tf.range(len(words), dtype=tf.int64)
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(words), ids), default_value=-1
    )

    def run(text: Any) -> dict[str, Any]:
        return {"id": module.table.lookup(tf.strings.lower(text))}

    _save(path, module, run, text=tf.TensorSpec([None], tf.string))
    return {"text": np.array([b"Model", b"Loader", b"Signature", b"unknown"], object)}


def _image_mean(path: Path, random: np.random.Generator) -> Arrays:
    import tensorflow as tf

    spec = tf.TensorSpec([None, 224, 224, 3])
    _save(path, tf.Module(), lambda image: {"mean": tf.reduce_mean(image, [1, 2, 3])}, image=spec)
    return {"image": _floats(random, 1, 224, 224, 3)}


def _mlp(path: Path, random: np.random.Generator) -> Arrays:
    keras = _seeded_keras()
    layers = keras.layers
    sizes = [layers.Dense(512, activation="relu"), layers.Dense(256, activation="relu")]
    keras.Sequential([keras.Input((784,), name="pixels"), *sizes, layers.Dense(10)]).export(
        str(path), verbose=0
    )
    return {"pixels": _floats(random, 1, 784)}


def _mobilenet(path: Path, random: np.random.Generator) -> Arrays:
    keras = _seeded_keras()
    image = keras.Input((96, 96, 3), name="image")
    keras.applications.MobileNetV2(input_tensor=image, weights=None).export(str(path), verbose=0)
    return {"image": _floats(random, 1, 96, 96, 3)}


def _conv(path: Path, random: np.random.Generator) -> Arrays:
    """120 million floating-point operations per image, and few bytes in and out."""
    keras = _seeded_keras()
    layers = keras.layers
    convolutions = [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
    ]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    keras.Sequential([keras.Input((64, 64, 3), name="image"), *convolutions, *head]).export(
        str(path), verbose=0
    )
    return {"image": _floats(random, 1, 64, 64, 3)}


def _hundred_megabytes(path: Path, random: np.random.Generator) -> Arrays:
    import tensorflow as tf

    side = LOADED_MODEL_SIDE
    module = tf.Module()
    module.weights = tf.Variable(random.random((side, side), np.float32) / side)
    _save(path, module, lambda x: {"y": x @ module.weights}, x=tf.TensorSpec([None, side]))
    return {"x": _floats(random, 1, side)}


def _save(path: Path, module: Any, run: Callable[..., Any], **specs: Any) -> None:
    import tensorflow as tf

    module.run = tf.function(run).get_concrete_function(**specs)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.run})


def _seeded_keras() -> Any:
    import keras

    keras.utils.set_random_seed(SEED)
    return keras


def _floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Return numbers of four decimals, so that an image is 1.3 MB of JSON rather than 3."""
    return random.random(shape).round(4).astype(np.float32)


BUILDERS: dict[str, Callable[[Path, np.random.Generator], Arrays]] = {
    "half_plus_two": _half_plus_two,
    "mlp": _mlp,
    "mobilenet": _mobilenet,
    "strings": _strings,
    "image_mean": _image_mean,
    "conv": _conv,
    LOADED_MODEL: _hundred_megabytes,
}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    build_missing()
    write_config()
