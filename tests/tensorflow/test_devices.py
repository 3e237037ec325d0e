"""What is decided for a machine with a GPU, as far as one without can tell."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from tests.conftest import SavedModel
from tests.tensorflow.loading import served

pytestmark = [pytest.mark.tensorflow, pytest.mark.asyncio]


@dataclass(frozen=True)
class FakeDevice:
    device_type: str


def variables(model: Any) -> list[str]:
    graph = model.executor.graph()
    return [node.name for node in graph.node if node.op in {"VarHandleOp", "VariableV2"}]


async def test_a_model_is_frozen_and_runs_in_threads_where_there_is_a_gpu(
    saved_model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    devices = [FakeDevice("CPU"), FakeDevice("GPU")]
    monkeypatch.setattr(tf.compat.v1.Session, "list_devices", lambda _: devices)
    monkeypatch.setattr("sigrun.executors.saved_model.reading.is_slower", lambda *_: False)

    async with served(saved_model("half_plus_two")) as model:
        servable: Any = model.servable
        loaded = servable._model
        kept = variables(loaded)
        (y,) = await model.run("serving_default", x=np.array([1.0], np.float32))

    assert y.tolist() == [2.5]
    assert not loaded.executor.runs_in_caller
    assert kept == []
    assert servable.inline_runs == 0
    assert all(prepared.placement is None for _, prepared in loaded.prepared())


async def test_a_model_stays_as_it_is_where_a_gpu_is_slower_with_constants(
    saved_model: SavedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    devices = [FakeDevice("CPU"), FakeDevice("GPU")]
    monkeypatch.setattr(tf.compat.v1.Session, "list_devices", lambda _: devices)
    monkeypatch.setattr("sigrun.executors.saved_model.reading.is_slower", lambda *_: True)

    with caplog.at_level(logging.INFO):
        async with served(saved_model("half_plus_two")) as model:
            servable: Any = model.servable
            kept = variables(servable._model)

    assert kept
    assert "it would be slower on the devices here" in caplog.text


@pytest.mark.parametrize(
    ("devices", "mixes", "is_precise"),
    [
        (["CPU"], False, True),
        (["CPU", "CPU"], False, True),
        (["CPU"], True, False),
        (["CPU", "GPU"], False, False),
    ],
)
async def test_float32_is_less_precise_on_a_gpu_and_where_that_is_asked_for(
    devices: list[str], mixes: bool, is_precise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from sigrun.executors.saved_model.graph_analysis import Execution
    from sigrun.executors.saved_model.session import open_graph
    from sigrun.wire.config_files.session_config import with_mixed_precision

    fakes = [*map(FakeDevice, devices)]
    monkeypatch.setattr(tf.compat.v1.Session, "list_devices", lambda _: fakes)
    config = with_mixed_precision(b"", "bfloat16") if mixes else b""
    options = ExecutionOptions(session_config=config)

    executor = open_graph(tf.Graph().as_graph_def(), options, Execution.CALLER, folds=True)

    assert executor.is_precise is is_precise
    executor.close()


async def test_memory_of_gpus_is_taken_as_the_session_config_says() -> None:
    from sigrun.executors.saved_model.graph_analysis import Execution
    from sigrun.executors.saved_model.session import session_config
    from sigrun.executors.saved_model.tensorflow_imports import config_pb2

    given = config_pb2.ConfigProto()
    given.gpu_options.per_process_gpu_memory_fraction = 0.25
    given.gpu_options.allow_growth = True
    options = ExecutionOptions(session_config=given.SerializeToString())

    for execution in Execution:
        config = session_config(options, execution, folds=True)

        assert config.gpu_options == given.gpu_options
