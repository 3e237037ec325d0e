"""Models of TensorFlow Lite, made by TensorFlow's converter, beside and in place of SavedModels."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import InvalidArgument
from tests.tensorflow.loading import served

pytest.importorskip("ai_edge_litert")
pytestmark = [pytest.mark.tensorflow, pytest.mark.asyncio]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with versions: `plain`, `bare` (without signatures), `both`, `strings`."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tflite")

    class Model(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def half_plus_three(self, x):  # type: ignore[no-untyped-def]
            return {"y": x / 2 + 3}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.int32, name="a"),
                tf.TensorSpec([None, 2], tf.int32, name="b"),
            ]
        )
        def both(self, a, b):  # type: ignore[no-untyped-def]
            return {"sum": a + b, "product": a * b}

    model = Model()
    tf.saved_model.save(
        model,
        str(folder / "both"),
        signatures={"serving_default": model.half_plus_three, "both": model.both},
    )
    lite = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / "both"), signature_keys=["serving_default", "both"]
    ).convert()
    (folder / "both" / "model.tflite").write_bytes(lite)
    (folder / "plain").mkdir()
    (folder / "plain" / "model.tflite").write_bytes(lite)
    (folder / "bare").mkdir()
    (folder / "bare" / "model.tflite").write_bytes(_without_signatures(lite))
    (folder / "broken").mkdir()
    (folder / "broken" / "model.tflite").write_bytes(b"no model")
    return folder


def _without_signatures(model: bytes) -> bytes:
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder  # type: ignore[import-untyped]

    parts = schema.ModelT.InitFromPackedBuf(model, 0)
    parts.signatureDefs = []
    builder = Builder(1024)
    builder.Finish(parts.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


async def test_signatures_are_those_of_the_file(models: Path) -> None:
    async with served(models / "plain") as model:
        signature = model.servable.signatures["both"]

        total, product = await model.run(
            signature,
            ["sum", "product"],
            a=np.array([[1, 2]], np.int32),
            b=np.array([[3, 4]], np.int32),
        )

    assert list(model.servable.signatures) == ["both", "serving_default"]
    assert str(signature.inputs["a"]) == "DT_INT32 [?,2]"
    assert (total.tolist(), product.tolist()) == ([[4, 6]], [[3, 8]])


async def test_requests_of_any_size_are_answered_at_the_same_time(models: Path) -> None:
    options = ExecutionOptions(tflite_pools=2, runner_threads=4)
    async with served(models / "plain", options) as model:
        answers = await asyncio.gather(
            *(
                model.run("serving_default", x=np.full(rows, rows, np.float32))
                for rows in range(1, 20)
            )
        )

    for rows, (y,) in enumerate(answers, 1):
        np.testing.assert_array_equal(y, np.full(rows, rows / 2 + 3, np.float32))


async def test_a_file_without_signatures_has_one_of_all_its_tensors(models: Path) -> None:
    async with served(models / "bare") as model:
        signature = model.servable.signatures["serving_default"]
        inputs = {alias: np.array([[5, 6], [7, 8]], np.int32) for alias in signature.inputs}

        answers = await model.run(signature, None, deadline=None, **inputs)

    assert list(signature.inputs) == ["both_a:0", "both_b:0"]
    assert sorted(y.tolist() for y in answers) == [[[10, 12], [14, 16]], [[25, 36], [49, 64]]]


@pytest.mark.parametrize(
    ("prefers", "name"), [(True, "TfLiteExecutor"), (False, "SessionExecutor")]
)
async def test_of_two_forms_the_preferred_one_is_loaded(
    models: Path, prefers: bool, name: str
) -> None:
    async with served(models / "both", ExecutionOptions(prefer_tflite_model=prefers)) as model:
        (y,) = await model.run("serving_default", x=np.array([2], np.float32))
        executor = model.servable._model.executor  # type: ignore[attr-defined]

    assert (y.tolist(), type(executor).__name__) == ([4], name)


async def test_an_input_that_the_model_cannot_take_is_the_callers_mistake(models: Path) -> None:
    async with served(models / "plain") as model:
        with pytest.raises(InvalidArgument, match="TensorFlow Lite: "):
            await model.run("both", a=np.ones((1, 2), np.int32), b=np.ones((3, 5), np.int32))

        (y,) = await model.run("serving_default", x=np.array([2], np.float32))

    assert y.tolist() == [4]


async def test_a_file_that_is_no_model_is_named(models: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"broken/model\.tflite cannot be loaded"):
        async with served(models / "broken"):
            pass
