"""The SavedModels that other tests rely on are what their builders' docstrings say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.tensorflow.saved_models import KINDS
from tests.tensorflow.saved_models.kinds_v1 import DTYPES

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

BROKEN = (
    "empty_directory",
    "garbage_graph",
    "missing_variables",
    "plain_file",
    "truncated_graph",
    "truncated_variables",
)
SavedModel = Callable[[str], Path]


class V1Model:
    """A SavedModel in a session of its own."""

    def __init__(self, path: Path, tags: tuple[str, ...] = ("serve",)) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        loaded = tf.compat.v1.saved_model.load(self._session, list(tags), str(path))
        self.signatures = loaded.signature_def

    def run(self, name: str = "serving_default", /, **inputs: Any) -> dict[str, np.ndarray]:
        signature = self.signatures[name]
        fetches = {alias: info.name for alias, info in signature.outputs.items()}
        feeds = {signature.inputs[alias].name: value for alias, value in inputs.items()}
        outputs: dict[str, np.ndarray] = self._session.run(fetches, feeds)
        return outputs


def example(**features: list[float]) -> bytes:
    message = tf.train.Example()
    for name, values in features.items():
        message.features.feature[name].float_list.value.extend(values)
    serialized: bytes = message.SerializeToString()
    return serialized


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(BROKEN)))
def test_every_whole_kind_is_a_saved_model(kind: str, saved_model: SavedModel) -> None:
    path = saved_model(kind)

    assert tf.saved_model.contains_saved_model(str(path))


@pytest.mark.parametrize("kind", BROKEN)
def test_no_broken_kind_loads(kind: str, saved_model: SavedModel) -> None:
    with pytest.raises((OSError, RuntimeError, ValueError, tf.errors.OpError)):
        V1Model(saved_model(kind))


@pytest.mark.parametrize(
    ("kind", "tags", "y"),
    [
        ("half_plus_two", ("serve",), 2.5),
        ("half_plus_three", ("serve",), 3.5),
        ("half_plus_two_as_text", ("serve",), 2.5),
        ("half_plus_two_for_gpu", ("serve", "gpu"), 2.5),
        ("half_plus_two_for_training", ("train",), 2.5),
        ("half_plus_two_meta_graphs", ("serve",), 2.5),
        ("half_plus_two_meta_graphs", ("serve", "gpu"), 2.5),
    ],
)
def test_the_tutorial_model_answers_half_of_x_plus_b(
    kind: str, tags: tuple[str, ...], y: float, saved_model: SavedModel
) -> None:
    model = V1Model(saved_model(kind), tags)

    assert model.run(x=[[1.0]])["y"].tolist() == [[y]]


def test_the_tutorial_model_reads_examples(saved_model: SavedModel) -> None:
    model = V1Model(saved_model("half_plus_two"))

    examples = [example(x=[1.0]), example(x=[2.0], x2=[4.0])]

    assert model.run("regress_x_to_y", inputs=examples)["outputs"].tolist() == [[2.5], [3.0]]
    assert model.run("regress_x_to_y2", inputs=examples)["outputs"].tolist() == [[3.5], [4.0]]
    assert model.run("regress_x2_to_y3", inputs=[[4.0]])["outputs"].tolist() == [[5.0]]
    assert model.run("classify_x_to_y", inputs=examples)["scores"].tolist() == [[2.5], [3.0]]


@pytest.mark.parametrize("name", DTYPES)
def test_identities_answer_with_their_input(name: str, saved_model: SavedModel) -> None:
    model = V1Model(saved_model("identities"))
    dtype = tf.as_dtype(name)
    value = [b"a", b""] if name == "string" else np.array([1, 0], dtype.as_numpy_dtype)

    y = model.run(name, x=value)["y"]

    assert y.tolist() == list(value)
    assert model.signatures[name].inputs["x"].dtype == dtype.as_datatype_enum


def test_both_heads_read_the_same_examples(saved_model: SavedModel) -> None:
    model = V1Model(saved_model("multi_head"))

    examples = [example(x=[1.0, 2.0])]

    both = model.run("classify", inputs=examples)
    assert both["classes"].tolist() == [[b"ham", b"spam", b"unsure"]]
    np.testing.assert_allclose(both["scores"], [[0.244728, 0.665241, 0.090031]], rtol=1e-4)
    assert model.run("regress", inputs=examples)["outputs"].tolist() == [[5.0]]
    assert model.run("regress_flat", inputs=examples)["outputs"].tolist() == [5.0]


@pytest.mark.parametrize("kind", ["vocabulary_v1", "vocabulary_v2"])
def test_vocabularies_are_read_from_their_asset(kind: str, saved_model: SavedModel) -> None:
    model = V1Model(saved_model(kind))

    assert model.run(word=["banana", "plum"])["id"].tolist() == [1, -1]


def test_the_counter_keeps_its_count(saved_model: SavedModel) -> None:
    model = V1Model(saved_model("counter"))

    assert model.run("get_counter")["count"] == 0
    assert model.run("incr_counter")["count"] == 1
    assert model.run("incr_counter_by", delta=5)["count"] == 6
    assert model.run("reset_counter")["count"] == 0


@pytest.mark.parametrize(
    ("kind", "signature", "defaults"),
    [
        ("default_inputs", "serving_default", {"scale": 2.0, "offset": 1.0}),
        ("module", "scaled", {"scale": 2.0}),
    ],
)
def test_default_inputs_are_in_the_signature(
    kind: str, signature: str, defaults: dict[str, float], saved_model: SavedModel
) -> None:
    model = V1Model(saved_model(kind))

    found = model.signatures[signature].defaults

    assert {name: tf.make_ndarray(value).item() for name, value in found.items()} == defaults


@pytest.mark.parametrize("kind", ["keras_export", "keras_export_archive", "keras_values_in_module"])
def test_exported_keras_models_run_in_a_session(kind: str, saved_model: SavedModel) -> None:
    model = V1Model(saved_model(kind))

    (y,) = model.run(x=[[1.0, 1.0, 2.0]]).values()

    assert y.tolist() == [[3.0]]


@pytest.mark.parametrize("kind", ["keras_in_module", "keras_saved_directly"])
def test_other_keras_models_run_only_through_their_python_signature(
    kind: str, saved_model: SavedModel
) -> None:
    path = saved_model(kind)

    with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable"):
        V1Model(path).run(x=[[1.0, 1.0, 2.0]])

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    assert signature(x=tf.constant([[1.0, 1.0, 2.0]]))["y"].numpy().tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("signature", "inputs", "error"),
    [
        ("matmul", {"x": [[1.0]]}, tf.errors.InvalidArgumentError),
        ("assert_positive", {"x": [1.0, -1.0]}, tf.errors.InvalidArgumentError),
        ("not_found", {"name": "/no/such/file"}, tf.errors.NotFoundError),
        ("failed_precondition", {"x": [1.0]}, tf.errors.FailedPreconditionError),
        ("data_loss", {"data": ["plain"]}, tf.errors.DataLossError),
        ("resource_exhausted", {"size": 1 << 45}, tf.errors.ResourceExhaustedError),
        ("internal", {"target": "/job:elsewhere/task:0/device:CPU:0"}, tf.errors.InternalError),
    ],
)
def test_run_time_errors_have_their_code(
    signature: str, inputs: dict[str, Any], error: type[Exception], saved_model: SavedModel
) -> None:
    model = V1Model(saved_model("run_time_errors"))

    with pytest.raises(error):
        model.run(signature, **inputs)


def test_run_time_errors_come_from_bad_inputs_only(saved_model: SavedModel) -> None:
    model = V1Model(saved_model("run_time_errors"))

    assert model.run("matmul", x=[[1.0, 1.0, 1.0]])["y"].tolist() == [[3.0, 3.0]]
    assert model.run("assert_positive", x=[1.0])["y"].tolist() == [1.0]
    assert model.run("internal", target="/device:CPU:0")["y"] == 1.0


def test_slow_models_take_what_they_are_given(saved_model: SavedModel) -> None:
    model = V1Model(saved_model("slow"))

    assert model.run(n=[1, 3])["steps"].tolist() == [1, 3]
    assert model.run("sleep", milliseconds=[2])["slept"].tolist() == [2]


def test_odd_outputs_have_shapes_of_their_own(saved_model: SavedModel) -> None:
    model = V1Model(saved_model("odd_outputs"))

    assert model.run("total", x=[1.0, 2.0])["total"].shape == ()
    assert model.run("constant", x=[1.0, 2.0])["constant"].shape == (3,)
    assert model.run("twice", x=[1.0, 2.0])["y"].shape == (4,)
    assert model.run("nonzero", x=[1.0, 0.0])["y"].shape == (1,)
