"""What is decided for a machine with a GPU, as far as one without can tell."""

from __future__ import annotations

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


async def test_nothing_is_frozen_or_run_inline_where_there_is_a_gpu(
    saved_model: SavedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    devices = [FakeDevice("CPU"), FakeDevice("GPU")]
    monkeypatch.setattr(tf.compat.v1.Session, "list_devices", lambda _: devices)

    async with served(saved_model("half_plus_two")) as model:
        servable: Any = model.servable
        loaded = servable._model
        (y,) = await model.run("serving_default", x=np.array([1.0], np.float32))

    assert y.tolist() == [2.5]
    assert not loaded.executor.runs_in_caller
    assert loaded.executor._scope == ""
    assert servable.inline_runs == 0
    assert all(prepared.placement is None for _, prepared in loaded.prepared())


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
