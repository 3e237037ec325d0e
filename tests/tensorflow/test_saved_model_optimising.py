"""Variables that nothing writes become constants; models answer as before, or stay as they are."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.tensors.signature import Array, Signature

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

SavedModel = Callable[[str], Path]
Build = Callable[[], Any]
ROOT = Path(__file__).resolve().parents[2]
AS_IT_IS = ExecutionOptions(optimize_on_load=False)


@contextmanager
def loaded(path: Path, options: ExecutionOptions | None = None, **reading: Any) -> Iterator[Any]:
    from sigrun.executors.saved_model.reading import read_saved_model

    model = read_saved_model(str(path), options or ExecutionOptions(), **reading)
    yield model
    model.close()


def operations(model: Any) -> list[str]:
    """Return the operations that the model's signatures reach, those of functions last."""
    from sigrun.executors.saved_model.graph_analysis import reach
    from sigrun.executors.saved_model.optimising import signature_tensors

    tensors = model.executor.scoped(signature_tensors(model.signatures))
    reached = reach(model.executor.graph(), tensors)
    nodes = [*reached.nodes.values()]
    nodes += [node for each in reached.functions.values() for node in each.node_def]
    return [node.op for node in nodes]


def is_frozen(model: Any) -> bool:
    from sigrun.executors.saved_model.graph_analysis import all_nodes

    is_apart = "RestoreV2" not in [node.op for node in all_nodes(model.executor.graph())]
    return is_apart or bool(model.executor.scoped(["x"]) != ["x"])


def run(model: Any, name: str, inputs: list[Array]) -> list[Array]:
    from sigrun.executors.prepared import tensor_names

    signature: Signature = model.signatures[name]
    names = tensor_names(signature, signature.outputs)
    return [*model.calls.get(*names).call(inputs)]


def requests(signature: Signature) -> list[list[Array]]:
    """Return arrays for a signature, from its shapes or, where it has none, a few examples."""
    from sigrun.executors.saved_model.sample_requests import made_up_requests

    made_up = made_up_requests(signature)
    if not made_up and len(signature.inputs) == 1:
        (spec,) = signature.inputs.values()
        assert spec.dtype is not None
        of_type = examples() if spec.dtype.label == "DT_STRING" else [np.ones(3, spec.dtype.numpy)]
        return [[array] for array in of_type]
    rng = np.random.default_rng(1)
    noise = (
        [
            (array * rng.normal(size=array.shape)).astype(array.dtype)
            if array.dtype != object
            else np.full(array.shape, b"banana", object)
            for array in made_up[0]
        ]
        if made_up
        else []
    )
    return [*made_up, noise] if made_up else []


def examples() -> list[Array]:
    import tensorflow as tf

    message = tf.train.Example()
    message.features.feature["x"].float_list.value.extend([1.0, 2.0])
    return [np.array([message.SerializeToString()], object), np.array([b""], object)]


def same_answers(one: Any, other: Any) -> int:
    """Assert that two models answer the same; return the number of answers."""
    from sigrun.executors.saved_model.model import is_callable
    from sigrun.executors.saved_model.sample_requests import answer, difference

    compared = 0
    for name, signature in one.signatures.items():
        if is_callable(signature):
            for inputs in requests(signature):
                want, got = (
                    answer(lambda arrays, m=model, n=name: run(m, n, arrays), inputs)  # type: ignore[misc]
                    for model in (one, other)
                )
                assert difference(want, got, 1e-4) is None, name
                compared += not want.error
    return compared


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [
        ("half_plus_two", True),
        ("half_plus_two_as_text", True),
        ("multi_head", True),
        ("module", True),
        ("keras_export", True),
        ("keras_export_archive", True),
        ("keras_in_module", True),
        ("keras_saved_directly", True),
        ("keras_values_in_module", True),
        ("all_dtypes", False),  # the rest has no variables, or state
        ("default_inputs", False),
        ("identities", False),
        ("odd_outputs", False),
        ("run_time_errors", False),
        ("slow", False),
        ("vocabulary_v1", False),
        ("vocabulary_v2", False),
    ],
)
def test_every_kind_of_model_answers_the_same(
    kind: str, frozen: bool, saved_model: SavedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with loaded(saved_model(kind), AS_IT_IS) as plain:
        caplog.set_level(logging.INFO)
        with loaded(saved_model(kind)) as model:
            assert same_answers(plain, model)
            assert ("with frozen variables" in caplog.text) == frozen
            if frozen:
                assert not {"VarHandleOp", "VariableV2"} & {*operations(model)}


def write(path: Path, build: Build) -> Path:
    """Write what `build` returns: a tf.Module with a function `f`."""
    import tensorflow as tf

    module = build()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.f})
    return path


def convolutions() -> Any:
    """Return a Keras model of convolutions, each with a batch normalisation that does much."""
    import keras

    keras.utils.set_random_seed(1)
    image = x = keras.Input((8, 8, 3))
    for filters in (4, 8):
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    for weight in model.weights:
        if "batch_normalization" in weight.path:
            weight.assign(np.random.default_rng(2).uniform(0.5, 1.5, weight.shape))
    return model


def test_batch_normalisations_are_frozen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "1"
    convolutions().export(str(path), verbose=False)

    with caplog.at_level(logging.INFO), loaded(path) as model, loaded(path, AS_IT_IS) as plain:
        assert same_answers(plain, model)
        assert "ReadVariableOp" in operations(plain)
        assert "ReadVariableOp" not in operations(model)
    assert "is served with frozen variables: 14" in caplog.text


def module_of(
    build: Callable[[Any, Any], Any], *shape: int | None, dtype: str = "float32"
) -> Build:
    """Return what builds a module: `build(variables, x)` is its function."""

    def make() -> Any:
        import tensorflow as tf

        module = tf.Module()
        rng = np.random.default_rng(3)
        module.small = tf.Variable(rng.normal(size=[3, 3]), dtype=tf.float32, name="small")
        module.other = tf.Variable(rng.normal(size=[3, 3]), dtype=tf.float32, name="other")
        module.large = tf.Variable(rng.normal(size=[20_000, 3]), dtype=tf.float32, name="large")
        spec = tf.TensorSpec(shape, dtype, name="x")
        module.f = tf.function(lambda x: {"y": build(module, x)}, input_signature=[spec])
        return module

    return make


def shared_function(module: Any, x: Any) -> Any:
    import tensorflow as tf

    weigh = tf.function(lambda v, w: tf.matmul(v, w.read_value()), reduce_retracing=True)
    return weigh(weigh(x, module.small), module.other)


def branches(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.cond(
        tf.reduce_sum(x) > 1.0,
        lambda: tf.matmul(x, module.small),
        lambda: tf.switch_case(tf.constant(1), [lambda: x, lambda: tf.matmul(x, module.other)]),
    )


def loop(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.while_loop(
        lambda step, _: step < 3, lambda step, v: (step + 1, tf.matmul(v, module.small)), [0, x]
    )[1]


def embedding(module: Any, x: Any) -> Any:
    import tensorflow as tf

    small = tf.nn.embedding_lookup(module.small, x)
    rows = tf.gather_nd(module.other, tf.stack([x, x], axis=-1))
    return small + tf.nn.embedding_lookup(module.large, x) + rows[..., None]


def large_matrix(module: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.matmul(tf.matmul(x, module.small), module.large, transpose_b=True)


def shape_of(module: Any, x: Any) -> Any:
    import tensorflow as tf

    shape = tf.raw_ops.VariableShape(input=module.small.handle)
    return x * tf.cast(shape[0], tf.float32) + module.small


@pytest.mark.parametrize(
    ("build", "has_variable"),
    [
        (module_of(shared_function, None, 3), False),
        (module_of(branches, None, 3), False),
        (module_of(loop, None, 3), False),
        (module_of(embedding, None, dtype="int32"), True),
        (module_of(large_matrix, None, 3), True),
        (module_of(shape_of, 3, 3), False),
    ],
    ids=["shared function", "branches", "loop", "embedding", "large matrix", "shape"],
)
def test_variables_are_frozen_wherever_they_are_read(
    build: Build, has_variable: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "1", build)

    with loaded(path, AS_IT_IS) as plain, loaded(path) as model:
        assert same_answers(plain, model) == 3
        assert is_frozen(model)
        assert operations(model).count("VarHandleOp") == has_variable


def control_flow_v1() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [None], name="x")
    weight = tf.compat.v1.get_variable("w", initializer=[2.0], use_resource=False)
    tf.compat.v1.disable_control_flow_v2()
    try:
        chosen = tf.compat.v1.cond(
            tf.reduce_sum(value) > 0.0, lambda: value * weight, lambda: value + weight
        )
    finally:
        tf.compat.v1.enable_control_flow_v2()
    return {"serving_default": graphs.signature({"x": value}, {"y": chosen})}


def random_numbers() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [None], name="x")
    weight = tf.compat.v1.get_variable("w", initializer=[2.0], use_resource=True)
    noisy = value * weight + tf.random.uniform([])
    return {"serving_default": graphs.signature({"x": value}, {"y": noisy})}


def mutable_table() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    word = graphs.placeholder(tf.string, [None], name="word")
    weight = tf.compat.v1.get_variable("w", initializer=[2.0], use_resource=True)
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, 0.0)
    with tf.control_dependencies([table.insert(word, tf.ones_like(word, tf.float32))]):
        inserted = tf.identity(word)
    found = table.lookup(word) * weight
    return {
        "insert": graphs.signature({"word": word}, {"inserted": inserted}),
        "serving_default": graphs.signature({"word": word}, {"found": found}),
    }


def write_v1(path: Path, build: Callable[[], dict[str, Any]]) -> Path:
    from .saved_models import graphs

    graphs.write(path, lambda: graphs.MetaGraph(signatures=build()))
    return path


def test_control_flow_of_tensorflow_1_is_frozen(tmp_path: Path) -> None:
    path = write_v1(tmp_path / "1", control_flow_v1)

    with loaded(path, AS_IT_IS) as plain, loaded(path) as model:
        assert same_answers(plain, model) == 3
        assert "VariableV2" not in operations(model)


def test_without_variables_of_tensorflow_1_a_cheaper_executor_runs_the_graph(
    saved_model: SavedModel,
) -> None:
    def executor_of(model: Any) -> str:
        return str(model.executor._session._config.experimental.executor_type)

    path = saved_model("half_plus_two")
    with loaded(path, AS_IT_IS) as plain, loaded(path) as model:
        assert executor_of(plain) == ""
        assert executor_of(model) == "SINGLE_THREADED_EXECUTOR"


def test_random_numbers_are_not_compared(tmp_path: Path) -> None:
    with loaded(write_v1(tmp_path / "1", random_numbers)) as model:
        assert is_frozen(model)


def test_a_table_that_requests_fill_stays_as_it_is(tmp_path: Path) -> None:
    word = np.array([b"", b"a"], object)

    with loaded(write_v1(tmp_path / "1", mutable_table)) as model:
        assert not is_frozen(model)
        assert run(model, "serving_default", [word])[0].tolist() == [0, 0]
        run(model, "insert", [word[1:]])
        assert run(model, "serving_default", [word])[0].tolist() == [0, 2]


def test_a_model_that_counts_is_not_run_when_it_is_loaded(
    saved_model: SavedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), loaded(saved_model("counter")) as model:
        assert run(model, "get_counter", [])[0] == 0
        assert run(model, "incr_counter", [])[0] == 1

    assert "its signatures keep state (AssignAddVariableOp, AssignVariableOp)" in caplog.text


def test_a_model_that_would_answer_otherwise_stays_as_it_is(
    saved_model: SavedModel, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved_model("keras_export")

    with (
        caplog.at_level(logging.INFO),
        loaded(path, compare=lambda *_: "everything") as model,
    ):
        assert not is_frozen(model)
        assert run(model, "serving_default", [np.ones((1, 3), np.float32)])[0].tolist() == [[2.5]]

    assert "would answer otherwise: everything" in caplog.text


def test_a_model_that_cannot_be_frozen_stays_as_it_is(
    saved_model: SavedModel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> str | None:
        raise RuntimeError("no comparing today")

    with loaded(saved_model("keras_export"), compare=fail) as model:
        assert not is_frozen(model)
        assert run(model, "serving_default", [np.ones((1, 3), np.float32)])[0].tolist() == [[2.5]]

    assert "no comparing today" in caplog.text


def test_answers_differ_by_more_than_rounding() -> None:
    from sigrun.executors.saved_model.sample_requests import Answer, difference

    def of(*values: Any, dtype: Any = np.float32) -> Answer:
        return Answer(outputs=[np.array(values, dtype=dtype)])

    assert difference(of(1, 1000), of(1.05, 1000), 1e-4) is None  # 0.05 is little beside 1000
    assert difference(of(np.nan, np.inf), of(np.nan, np.inf), 1e-4) is None
    assert difference(Answer(error="INTERNAL"), Answer(error="INTERNAL"), 1e-4) is None
    assert difference(of(b"a", dtype=object), of(b"a", dtype=object), 1e-4) is None
    for want, got in [
        (of(1.0), of(1.001)),
        (of(1.0), of(np.nan)),
        (of(1, dtype=int), of(2, dtype=int)),
        (of(b"a", dtype=object), of(b"b", dtype=object)),
        (of(1.0), of(1.0, dtype=np.float64)),
        (of(1.0), of(1.0, 1.0)),
        (of(1.0), Answer(error="INTERNAL")),
        (Answer(error="INTERNAL"), of(1.0)),
        (Answer(error="INTERNAL"), Answer(error="INVALID_ARGUMENT")),
    ]:
        assert difference(want, got, 1e-4)


def test_what_gains_becomes_a_constant_while_there_is_room() -> None:
    from sigrun.executors.saved_model.freezing import choose_constants

    def zeros(*shape: int) -> Array:
        return np.zeros(shape, np.float32)

    variables = {
        "bias": zeros(100),
        "filter": zeros(3, 3, 256, 256),
        "matrix": zeros(1000, 1000),
        "words": np.array([b"a"], object),
    }
    assert choose_constants(variables) == {"bias", "filter"}
    filters = {f"filter_{n:02}": zeros(3, 3, 256, 256) for n in range(50)}  # 2.25 MiB each
    assert choose_constants(filters) == {f"filter_{n:02}" for n in range(7)}


@pytest.mark.parametrize("kind", ["keras_in_module", "keras_saved_directly"])
@pytest.mark.parametrize("options", [None, AS_IT_IS], ids=["frozen", "as it is"])
def test_keras_models_with_copied_variables_run_in_a_session(
    kind: str, options: ExecutionOptions | None, saved_model: SavedModel
) -> None:
    import tensorflow as tf

    from sigrun.executors.saved_model.session import SessionExecutor

    x = np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32)
    original = tf.saved_model.load(str(saved_model(kind)))

    with loaded(saved_model(kind), options) as model:
        assert isinstance(model.executor, SessionExecutor)
        (y,) = run(model, "serving_default", [x])

    np.testing.assert_allclose(y, original.signatures["serving_default"](x=x)["y"], rtol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_frozen_model_does_not_hold_its_weights_twice(tmp_path: Path) -> None:
    path = write_v1(tmp_path / "1", large_matrices)

    command = [sys.executable, "-m", "tests.tensorflow.memory", str(path), "20"]
    printed = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    last_loaded, *unloaded = map(float, printed.split())

    assert 96 * 0.8 < last_loaded - unloaded[-1] < 96 * 1.6
    assert unloaded[-1] < 1.1 * unloaded[0]
    with loaded(path) as model:
        assert is_frozen(model)


def large_matrices() -> dict[str, Any]:
    """Return a signature that reads 96 MiB of matrices, and biases that become constants."""
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [None], name="x")
    y = value
    for number in range(7):
        bias = tf.compat.v1.get_variable(f"bias_{number}", initializer=[1.0], use_resource=True)
        y += bias
    for number in range(3):
        matrix = tf.compat.v1.get_variable(
            f"matrix_{number}", initializer=tf.ones([2**11, 2**12]), use_resource=True
        )
        y += tf.reduce_sum(tf.matmul(tf.fill([1, 2**11], 0.5), matrix))
    return {"serving_default": graphs.signature({"x": value}, {"y": y})}


def embedding_and_bias() -> dict[str, Any]:
    """Return a signature that looks rows of 96 MiB up, and adds one small variable."""
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [None], name="x")
    table = tf.compat.v1.get_variable(
        "table", initializer=tf.ones([2**15, 3 * 2**8]), use_resource=True
    )
    bias = tf.compat.v1.get_variable("bias", initializer=[1.0], use_resource=True)
    rows = tf.nn.embedding_lookup(table, tf.cast(value, tf.int32))
    return {"serving_default": graphs.signature({"x": value}, {"y": rows[:, 0] + bias})}


def test_a_model_that_gains_nothing_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_v1(tmp_path / "1", embedding_and_bias)

    with caplog.at_level(logging.INFO), loaded(path) as model:
        assert not is_frozen(model)

    assert "is served as it is: it would gain nothing, or too little" in caplog.text


_PEAKS = """
import gc, resource, sys
from sigrun.config.execution import ExecutionOptions
from sigrun.executors.memory import give_back_memory
from sigrun.executors.saved_model.reading import read_saved_model

for is_optimised in (False, True):
    read_saved_model(sys.argv[1], ExecutionOptions(optimize_on_load=is_optimised)).close()
    give_back_memory()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes there")
def test_optimising_makes_no_second_copy_of_what_stays_a_variable(tmp_path: Path) -> None:
    path = write_v1(tmp_path / "1", large_matrices)

    command = [sys.executable, "-c", _PEAKS, str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    plain, optimised = map(float, printed.split())

    assert optimised < plain + 96 / 2


def file_named_by_a_variable(folder: Path) -> Build:
    """Return what builds a module that reads a file, whose name is made of a number."""

    def make() -> Any:
        import tensorflow as tf

        module = tf.Module()
        module.number = tf.Variable(7.0)
        module.scale = tf.Variable(2.0)

        def text_and_number(x: Any) -> dict[str, Any]:
            name = tf.strings.join([f"{folder}/", tf.strings.as_string(module.number, precision=0)])
            return {"text": tf.io.read_file(name), "y": x * module.scale}

        spec = tf.TensorSpec([None], tf.float32, name="x")
        module.f = tf.function(text_and_number, input_signature=[spec])
        return module

    return make


def file_named_by_a_constant(folder: Path) -> Build:
    def make() -> Any:
        import tensorflow as tf

        module = tf.Module()
        module.scale = tf.Variable(2.0)
        spec = tf.TensorSpec([None], tf.float32, name="x")
        module.f = tf.function(
            lambda x: {"text": tf.io.read_file(f"{folder}/7"), "y": x * module.scale},
            input_signature=[spec],
        )
        return module

    return make


@pytest.mark.parametrize("build", [file_named_by_a_variable, file_named_by_a_constant])
def test_a_file_is_read_at_each_run_and_not_when_the_model_is_loaded(
    build: Callable[[Path], Build], tmp_path: Path
) -> None:
    (tmp_path / "7").write_text("old")
    path = write(tmp_path / "1", build(tmp_path))

    with loaded(path) as model:
        x = np.ones(1, np.float32)
        before = run(model, "serving_default", [x])
        (tmp_path / "7").write_text("new")
        after = run(model, "serving_default", [x])

    assert b"old" in [value.tolist() for value in before]
    assert b"new" in [value.tolist() for value in after]


def test_only_known_operations_are_called_pure() -> None:
    from tensorflow.python.framework import op_def_registry

    from sigrun.executors.saved_model.purity import _PURE, _REACH_OUT

    for name in _PURE | _REACH_OUT:
        assert not op_def_registry.get(name).is_stateful, name
    assert not _PURE & _REACH_OUT


def two_scales(middle: Callable[[Any], Any]) -> Build:
    """Return what builds a module in which one variable goes through `middle`, and one not."""

    def make() -> Any:
        import tensorflow as tf

        module = tf.Module()
        module.one, module.other = tf.Variable(2.0, name="one"), tf.Variable(3.0, name="other")
        spec = tf.TensorSpec([None], tf.float32, name="x")
        module.f = tf.function(
            lambda x: {"y": x * middle(module.one) * module.other}, input_signature=[spec]
        )
        return module

    return make


def test_what_goes_into_an_operation_that_is_not_known_stays_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from sigrun.executors.saved_model import purity

    path = write(tmp_path / "1", two_scales(tf.math.lgamma))
    with loaded(path) as model:
        assert "VarHandleOp" not in operations(model)

    monkeypatch.setattr(purity, "_PURE", purity._PURE - {"Lgamma"})
    with loaded(path) as model:
        assert "VarHandleOp" in operations(model)
