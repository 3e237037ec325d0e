"""What a loaded SavedModel answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec

from .loading import Served, served

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120), pytest.mark.asyncio]

SavedModel = Callable[[str], Path]

NUMPY: dict[str, Any] = {
    "bool": np.bool_,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "half": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "complex64": np.complex64,
    "complex128": np.complex128,
    "string": object,
}


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def some(dtype: str) -> Array:
    if dtype == "string":
        return np.array([b"", b"\x00\xff", "ü".encode()], dtype=object)
    return np.array([0, 1, 2]).astype(NUMPY[dtype])


def assert_same(got: Array, want: Array) -> None:
    assert type(got) is np.ndarray
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert got.tolist() == want.tolist()


async def test_every_dtype_comes_back_as_it_went(saved_model: SavedModel) -> None:
    async with served(saved_model("identities")) as model:
        for dtype in NUMPY:
            for x in (some(dtype), some(dtype)[:0], some(dtype)[::2]):
                assert_same((await model.run(dtype, x=x))[0], x)


async def test_many_dtypes_travel_together(saved_model: SavedModel) -> None:
    inputs: dict[str, Any] = {dtype: some(dtype) for dtype in NUMPY}

    async with served(saved_model("all_dtypes")) as model:
        outputs = await model.run("serving_default", list(inputs), **inputs)

    for got, want in zip(outputs, inputs.values(), strict=True):
        assert_same(got, want)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4, 6])
async def test_every_rank_comes_back_as_it_went(rank: int, saved_model: SavedModel) -> None:
    shape = (2, 1, 3, 1, 2, 1)[:rank]
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    async with served(saved_model("identities")) as model:
        assert_same((await model.run(f"rank_{rank}", x=x))[0], x)
        assert_same((await model.run("any_rank", x=x))[0], x)


async def test_memory_that_is_read_only_or_not_aligned_can_be_fed(saved_model: SavedModel) -> None:
    x = np.frombuffer(b"-" + floats(1, 2, 3).tobytes(), dtype=np.float32, offset=1)

    async with served(saved_model("half_plus_two")) as model:
        assert_same((await model.run("serving_default", x=x))[0], floats(2.5, 3, 3.5))


async def test_a_scalar_of_bytes_is_an_array(saved_model: SavedModel, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"text \xff")

    async with served(saved_model("run_time_errors")) as model:
        name = np.array(str(file).encode(), dtype=object)
        (text,) = await model.run("not_found", name=name)

    assert_same(text, np.array(b"text \xff", dtype=object))


@pytest.mark.parametrize(
    "kind",
    [
        "keras_export",
        "keras_export_archive",
        "keras_in_module",
        "keras_saved_directly",
        "keras_values_in_module",
    ],
)
async def test_keras_models_answer_however_they_were_saved(
    kind: str, saved_model: SavedModel
) -> None:
    x = np.array([[1, 2, 3], [0, 0, 0]], dtype=np.float32)

    async with served(saved_model(kind)) as model:
        (y,) = await model.run("serving_default", x=x)

    assert_same(y, np.array([[4.0], [1.0]], dtype=np.float32))


@pytest.mark.parametrize("kind", ["vocabulary_v1", "vocabulary_v2"])
async def test_tables_are_filled_from_assets(kind: str, saved_model: SavedModel) -> None:
    word = np.array([b"banana", b"plum", b"apple"], dtype=object)

    async with served(saved_model(kind)) as model:
        assert_same((await model.run("serving_default", word=word))[0], np.array([1, -1, 0]))


async def test_state_lasts_as_long_as_the_servable(saved_model: SavedModel) -> None:
    for _ in range(2):
        async with served(saved_model("counter")) as model:
            await model.run("incr_counter")
            await model.run("incr_counter_by", delta=np.array(5))
            assert_same((await model.run("get_counter"))[0], np.array(6))


async def test_servables_of_one_model_have_their_own_state(saved_model: SavedModel) -> None:
    path = saved_model("counter")

    async with served(path) as one, served(path) as other:
        await one.run("incr_counter")
        assert_same((await other.run("get_counter"))[0], np.array(0))


async def test_outputs_come_in_the_order_that_was_asked_for(saved_model: SavedModel) -> None:
    async with served(saved_model("module")) as model:
        a, b = floats(2), floats(5)

        assert await model.run("serving_default", ["sum", "product"], a=a, b=b) == [7, 10]
        assert await model.run("serving_default", ["product", "sum"], a=a, b=b) == [10, 7]
        assert await model.run("serving_default", ["sum"], a=a, b=b) == [7]


async def test_only_what_is_asked_for_is_computed(saved_model: SavedModel) -> None:
    async with served(saved_model("counter")) as model:
        signatures = model.servable.signatures
        both = Signature(
            name="both",
            method_name="",
            inputs={},
            outputs={
                "incremented": signatures["incr_counter"].outputs["count"],
                "reset": signatures["reset_counter"].outputs["count"],
            },
        )

        await model.run(both, ["incremented"])
        assert_same((await model.run("get_counter"))[0], np.array(1))


async def test_joined_signatures_run_at_once(saved_model: SavedModel) -> None:
    async with served(saved_model("multi_head")) as model:
        joined, inputs = join(model, "classify", "regress_flat", examples=examples())

        outputs = await model.run(joined, **inputs)

    named = dict(zip(joined.outputs, outputs, strict=True))
    assert named["classify/scores"].shape == (2, 3)
    assert named["classify/classes"][0].tolist() == [b"ham", b"spam", b"unsure"]
    assert_same(named["regress_flat/outputs"], floats(5, 11))


def join(model: Served, *names: str, examples: Array) -> tuple[Signature, dict[str, Any]]:
    signatures = [model.servable.signatures[name] for name in names]
    inputs = {f"{s.name}/{alias}": spec for s in signatures for alias, spec in s.inputs.items()}
    outputs = {f"{s.name}/{alias}": spec for s in signatures for alias, spec in s.outputs.items()}
    joined = Signature(name="", method_name="", inputs=inputs, outputs=outputs)
    return joined, dict.fromkeys(inputs, examples)


def examples() -> Array:
    import tensorflow as tf

    serialized = []
    for x in ([1.0, 2.0], [3.0, 4.0]):
        message = tf.train.Example()
        message.features.feature["x"].float_list.value.extend(x)
        serialized.append(message.SerializeToString())
    return np.array(serialized, dtype=object)


async def test_runs_at_the_same_time_answer_like_one_after_the_other(
    saved_model: SavedModel,
) -> None:
    options = ExecutionOptions(runner_threads=4)
    inputs = [np.full((n % 5 + 1, 3), n, dtype=np.float32) for n in range(200)]

    async with served(saved_model("keras_export"), options) as model:
        one_by_one = [await model.run("serving_default", x=x) for x in inputs]
        together = await asyncio.gather(*[model.run("serving_default", x=x) for x in inputs])

    for (got,), (want,) in zip(together, one_by_one, strict=True):
        assert_same(got, want)


async def test_one_new_set_of_outputs_may_be_asked_for_by_many(saved_model: SavedModel) -> None:
    options = ExecutionOptions(runner_threads=4)

    async with served(saved_model("module"), options) as model:
        a, b = floats(2), floats(5)
        runs = [model.run("serving_default", ["sum"], a=a, b=b) for _ in range(50)]
        answers = await asyncio.gather(*runs)

    assert all(answer == [7] for answer in answers)


async def test_signatures_say_what_the_model_says(saved_model: SavedModel) -> None:
    async with served(saved_model("module")) as model:
        signatures = model.servable.signatures

    assert set(signatures) == {
        "__saved_model_init_op",
        "lengths",
        "scaled",
        "serving_default",
        "weigh",
    }
    assert signatures["weigh"].method_name == "tensorflow/serving/predict"
    assert signatures["weigh"].inputs["x"] == TensorSpec(
        name="weigh_x:0", dtype=DType.FLOAT, shape=(None, 2)
    )
    assert signatures["scaled"].defaults["scale"] == np.float32(2)
    assert list(signatures["lengths"].outputs) == ["bytes", "upper"]


async def test_a_definition_is_the_models_own(saved_model: SavedModel) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    async with served(saved_model("default_inputs")) as model:
        signature = model.servable.signatures["serving_default"]

    definition = meta_graph_pb2.SignatureDef.FromString(signature.definition)
    assert set(definition.inputs) == {"x", "scale", "offset"}
    assert set(definition.defaults) == {"scale", "offset"}


async def test_defaults_can_be_fed(saved_model: SavedModel) -> None:
    async with served(saved_model("default_inputs")) as model:
        defaults: Mapping[str, Any] = model.servable.signatures["serving_default"].defaults
        (y,) = await model.run("serving_default", x=floats(1, 2), **defaults)

    assert_same(y, floats(3, 5))
