"""Make the versions of a model: SavedModels that take pictures as their files are.

In: the weights and class names that `packages` fetched. Out: one SavedModel per version, with

    serving_default, predict_images: `images` (string [-1]) -> `classes` (string [-1, 5]) and
                                     `scores` (float [-1, 5]), the likeliest first
    classify: a tf.Example with the feature `image/encoded` -> the same, for the Classify call
    features: `images` -> `features` (float [-1, 1280])
    pixels: `pixels` (float [-1, side, side, 3], (rgb - 127) / 128) -> `probabilities`

The versions have the same weights and differ in how they look at a picture (`LOOKS`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow when it is imported
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the graph is only written, not run

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from examples.files import whole_folder
from examples.panda import packages
from examples.panda.models import Model
from examples.panda.network import EfficientNetLite
from examples.panda.state_dict import read_state_dict

TOP = 5
CROP = 0.875  # of the shorter side: what such networks are measured with

Look = Callable[[tf.Tensor, int], tf.Tensor]


def look_at_all(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Return the whole picture, squeezed into a square: one view [1, side, side, 3]."""
    return tf.image.resize(picture, [side, side], antialias=True)[None]


def look_twice_at_the_middle(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Return the middle of the picture, not distorted, and its mirror image: two views."""
    size = tf.shape(picture)[:2]
    part = tf.cast(tf.round(CROP * tf.cast(tf.reduce_min(size), tf.float32)), tf.int32)
    top, left = tf.unstack((size - part) // 2)
    middle = tf.image.crop_to_bounding_box(picture, top, left, part, part)
    view = tf.image.resize(middle, [side, side], tf.image.ResizeMethod.BICUBIC, antialias=True)
    return tf.stack([view, tf.image.flip_left_right(view)])


LOOKS: dict[int, tuple[Look, int]] = {  # by version: the look, and how many views it gives
    1: (look_at_all, 1),
    2: (look_twice_at_the_middle, 2),
}


class Classifier(tf.Module):
    """A network together with a way to look at pictures and the names of the classes."""

    def __init__(self, network: EfficientNetLite, side: int, version: int) -> None:
        super().__init__()
        self.network = network
        self.names = tf.constant(packages.class_names())
        self.side = side
        self.look, self.views = LOOKS[version]

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Return the concrete functions to save, by signature name."""
        images = tf.TensorSpec([None], tf.string, name="images")
        examples = tf.TensorSpec([None], tf.string, name="inputs")
        pixels = tf.TensorSpec([None, self.side, self.side, 3], tf.float32, name="pixels")
        predict_images = tf.function(self.predict_images).get_concrete_function(images)
        return {
            "serving_default": predict_images,
            "predict_images": predict_images,
            "classify": tf.function(self.classify).get_concrete_function(examples),
            "features": tf.function(self.image_features).get_concrete_function(images),
            "pixels": tf.function(self.probabilities).get_concrete_function(pixels),
        }

    def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the likeliest classes of each picture and their probabilities."""
        probabilities = self.probabilities(self.pixels(images))["probabilities"]
        scores, numbers = tf.math.top_k(self.mean_of_views(probabilities), TOP)
        return {"classes": tf.gather(self.names, numbers), "scores": scores}

    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the same for serialized tf.Examples."""
        features = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
        return self.predict_images(tf.io.parse_example(inputs, features)["image/encoded"])

    def image_features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what the network sees in each picture, before it decides on a class."""
        return {"features": self.mean_of_views(self.network.features(self.pixels(images)))}

    def probabilities(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return a probability for each class, from pixels that are ready for the network."""
        return {"probabilities": self.network.probabilities(self.network.features(pixels))}

    def pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Return the views of all pictures, those of one picture after the other."""
        shape = (self.views, self.side, self.side, 3)
        views = tf.map_fn(
            self.views_of, images, fn_output_signature=tf.TensorSpec(shape, tf.float32)
        )
        return tf.reshape(views, [-1, *shape[1:]])

    def views_of(self, image: tf.Tensor) -> tf.Tensor:
        """Return the views of one picture (the bytes of a JPEG, PNG, GIF or BMP file)."""
        picture = tf.io.decode_image(image, channels=3, expand_animations=False)
        views = self.look(tf.cast(picture, tf.float32), self.side)
        return (tf.ensure_shape(views, [self.views, self.side, self.side, 3]) - 127.0) / 128.0

    def mean_of_views(self, rows: tf.Tensor) -> tf.Tensor:
        """Return one row for each picture, from one for each view."""
        return tf.reduce_mean(tf.reshape(rows, [-1, self.views, rows.shape[1]]), axis=1)


def export_versions(model: Model, versions: Iterable[int]) -> None:
    """Write each of `versions` of `model`."""
    started = time.monotonic()
    weights = read_state_dict(packages.weights(model))
    network = EfficientNetLite(model, weights)
    for version in versions:
        save(Classifier(network, model.side, version), model.base_path / str(version))
        print(f"panda: version {version} of {model.name} is made", flush=True)
    print(f"panda: {model.name} took {time.monotonic() - started:.0f} s", flush=True)


def save(classifier: Classifier, path: Path) -> None:
    """Save the SavedModel; a version directory is whole or absent."""
    with whole_folder(path) as folder:
        tf.saved_model.save(classifier, str(folder), signatures=classifier.signatures())
        mark_for_classify(folder / "saved_model.pb", "classify")


def mark_for_classify(path: Path, signature: str) -> None:
    """Give `signature` the method name that the Classify call asks for; TensorFlow 2 cannot."""
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (graph,) = model.meta_graphs
    graph.signature_def[signature].method_name = "tensorflow/serving/classify"
    path.write_bytes(model.SerializeToString())
