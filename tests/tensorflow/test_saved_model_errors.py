"""What callers are told when a SavedModel can't be loaded, or fails when it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import Code, InvalidArgument, NotFound, SigrunError
from sigrun.tensors.signature import DType, Signature, TensorSpec

from .loading import served, threads_for

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120), pytest.mark.asyncio]

SavedModel = Callable[[str], Path]

NO_SAVED_MODEL = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file "
    "called `saved_model.pb`)\nSpecified file path: {path}"
)


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("empty_directory", Code.NOT_FOUND, NO_SAVED_MODEL),
        ("plain_file", Code.NOT_FOUND, NO_SAVED_MODEL),
        ("garbage_graph", Code.DATA_LOSS, "Can't parse the SavedModel in {path}"),
        ("truncated_graph", Code.DATA_LOSS, "Can't parse the SavedModel in {path}"),
        ("missing_variables", Code.NOT_FOUND, "{path} has no variables/variables.index"),
        ("truncated_variables", Code.OUT_OF_RANGE, "Read less bytes than requested"),
        (
            "half_plus_two_for_training",
            Code.NOT_FOUND,
            (
                "Could not find meta graph def matching supplied tags: { serve }. "
                "Tag sets of this SavedModel: { train }"
            ),
        ),
    ],
)
async def test_what_is_wrong_on_disk_is_told(
    kind: str, code: Code, text: str, saved_model: SavedModel
) -> None:
    path = saved_model(kind)

    async with threads_for(path) as (loader, _):
        with pytest.raises(SigrunError) as raised:
            await loader.load()

    assert raised.value.code is code
    assert text.replace("{path}", str(path)) in str(raised.value)


async def test_a_file_that_may_never_answer_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "saved_model.pb")

    async with threads_for(tmp_path) as (loader, _):
        with pytest.raises(InvalidArgument, match=r"saved_model\.pb is a named pipe"):
            await loader.load()


async def test_a_session_config_that_is_none_is_refused(saved_model: SavedModel) -> None:
    options = ExecutionOptions(session_config=b"\xff\xff")

    async with threads_for(saved_model("half_plus_two"), options) as (loader, _):
        with pytest.raises(InvalidArgument, match="no serialized ConfigProto"):
            await loader.load()


async def test_a_load_that_failed_can_be_tried_again(
    saved_model: SavedModel, tmp_path: Path
) -> None:
    path = tmp_path / "1"

    async with threads_for(path) as (loader, _):
        with pytest.raises(NotFound):
            await loader.load()
        path.symlink_to(saved_model("half_plus_two"))
        servable = await loader.load()
        await loader.unload()

    assert "serving_default" in servable.signatures


RUN_TIME_ERRORS: dict[str, tuple[dict[str, Any], Code, str]] = {
    "matmul": (
        {"x": np.ones((1, 4), np.float32)},
        Code.INVALID_ARGUMENT,
        "Matrix size-incompatible: In[0]: [1,4], In[1]: [3,2]",
    ),
    "assert_positive": (
        {"x": np.array([1, -1], np.float32)},
        Code.INVALID_ARGUMENT,
        "assertion failed: [x must be positive.  ]",
    ),
    "not_found": (
        {"name": np.array(b"/no/such/file", object)},
        Code.NOT_FOUND,
        "/no/such/file; No such file or directory",
    ),
    "failed_precondition": (
        {"x": np.ones(1, np.float32)},
        Code.FAILED_PRECONDITION,
        "Could not find variable missing.",
    ),
    "data_loss": ({"data": np.array([b"rubbish"], object)}, Code.DATA_LOSS, "inflate() failed"),
    "internal": (
        {"target": np.array(b"/job:elsewhere/task:0/device:CPU:0", object)},
        Code.INTERNAL,
        "/job:elsewhere",
    ),
}


@pytest.mark.parametrize("signature", RUN_TIME_ERRORS)
async def test_a_failed_run_tells_the_models_own_error(
    signature: str, saved_model: SavedModel
) -> None:
    inputs, code, text = RUN_TIME_ERRORS[signature]

    async with served(saved_model("run_time_errors")) as model:
        with pytest.raises(SigrunError) as raised:
            await model.run(signature, **inputs)

    told = str(raised.value)
    assert raised.value.code is code
    assert text in told
    assert told.count(text) == 1
    noises = ("{{", "Graph execution error", "Traceback", 'File "')
    assert not any(noise in told for noise in noises)


@pytest.mark.parametrize("kind", ["half_plus_two", "keras_export", "keras_in_module"])
async def test_a_wrong_dtype_that_nobody_caught_is_the_callers_fault(
    kind: str, saved_model: SavedModel
) -> None:
    async with served(saved_model(kind)) as model:
        with pytest.raises(InvalidArgument):
            await model.run("serving_default", x=np.array([[b"text"]], object))


@pytest.mark.parametrize("kind", ["keras_export", "keras_in_module"])
async def test_a_wrong_shape_that_nobody_caught_is_the_callers_fault(
    kind: str, saved_model: SavedModel
) -> None:
    async with served(saved_model(kind)) as model:
        with pytest.raises(InvalidArgument) as raised:
            await model.run("serving_default", x=np.ones((1, 4), np.float32))

    assert "{{" not in str(raised.value)


async def test_a_signature_that_has_no_tensors_is_there_but_cannot_be_run(
    saved_model: SavedModel,
) -> None:
    async with served(saved_model("module")) as model:
        assert "__saved_model_init_op" in model.servable.signatures
        with pytest.raises(SigrunError):
            await model.run("__saved_model_init_op")


async def test_a_tensor_that_is_not_in_the_graph_is_named(saved_model: SavedModel) -> None:
    spec = TensorSpec(name="nowhere:0", dtype=DType.FLOAT, shape=None)
    signature = Signature(name="s", method_name="", inputs={}, outputs={"y": spec})

    for kind in ("module", "keras_in_module"):
        async with served(saved_model(kind)) as model:
            with pytest.raises(InvalidArgument, match="nowhere:0"):
                await model.run(signature)


async def test_a_missing_operation_is_named_when_the_model_loads(
    saved_model: SavedModel, tmp_path: Path
) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    path = tmp_path / "1"
    shutil.copytree(saved_model("half_plus_two"), path)
    message = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for node in message.meta_graphs[0].graph_def.node:
        if node.op == "Mul":
            node.op = "WordpieceTokenizeWithOffsets"
    (path / "saved_model.pb").write_bytes(message.SerializeToString())

    async with threads_for(path) as (loader, _):
        with pytest.raises(NotFound, match="tensorflow-text usually brings it"):
            await loader.load()


async def test_a_pipe_in_the_place_of_a_graph_is_refused_at_once(
    saved_model: SavedModel, tmp_path: Path
) -> None:
    path = tmp_path / "1"
    shutil.copytree(saved_model("half_plus_two"), path)
    (path / "saved_model.pb").unlink()
    os.mkfifo(path / "saved_model.pb")

    async with threads_for(path) as (loader, _):
        with pytest.raises(InvalidArgument, match=r"saved_model\.pb is a named pipe"):
            await loader.load()
