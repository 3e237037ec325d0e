"""SavedModels whose runs do not end."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def endless(path: Path) -> None:
    """Write a model whose `spin` loops for ever for what is not above 0, and `y` is x * w.

    The loop is not bounded by anything: it waits for a value that never changes.
    """
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    spec = tf.TensorSpec([None], tf.float32, name="x")

    def spin(x: Any) -> dict[str, Any]:
        (steps,) = tf.while_loop(
            lambda steps: steps + tf.reduce_max(x) <= 0.0, lambda steps: [steps * 1.0], [0.0]
        )
        return {"y": x * module.weight + 0.0 * steps}

    module.spin = tf.function(spin, input_signature=[spec])
    module.scale = tf.function(lambda x: {"y": x * module.weight}, input_signature=[spec])
    signatures = {"serving_default": module.scale, "spin": module.spin}
    tf.saved_model.save(module, str(path), signatures=signatures)


def endless_when_made_up(path: Path) -> None:
    """Write a model that loops for ever for zeros and ones, of a shape that is known."""
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    spec = tf.TensorSpec([None, 1], tf.float32, name="x")

    def spin(x: Any) -> dict[str, Any]:
        (steps,) = tf.while_loop(
            lambda steps: steps + tf.reduce_max(x) <= 1.0, lambda steps: [steps * 1.0], [0.0]
        )
        return {"y": x * module.weight + 0.0 * steps}

    module.spin = tf.function(spin, input_signature=[spec])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.spin})
