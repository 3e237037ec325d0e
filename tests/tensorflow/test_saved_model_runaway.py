"""Runs that do not end: what they hold up, and how they are ended."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import DeadlineExceeded, Unavailable
from sigrun.executors.saved_model import SavedModelServable

from .loading import Served, served
from .runaway import endless, endless_when_made_up

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120), pytest.mark.asyncio]

SavedModel = Callable[[str], Path]

SOON_S = 0.2
FAR_S = 60.0
OPTIONS = ExecutionOptions(runner_threads=2, max_run_overtime_s=SOON_S)

FOR_EVER = np.zeros(1, np.float32)
SHORT = np.ones(1, np.float32)


@pytest.fixture(scope="module")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("endless") / "1"
    endless(path)
    return path


def servable_of(model: Served) -> SavedModelServable:
    assert isinstance(model.servable, SavedModelServable)
    return model.servable


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(FAR_S):
        while not condition():  # noqa: ASYNC110  other threads make it true
            await asyncio.sleep(0.01)


async def give_up(model: Served, times: int = 1) -> None:
    """Make runs that do not end, and leave them."""
    runs = [model.run("spin", x=FOR_EVER, deadline=time.monotonic() + SOON_S) for _ in range(times)]
    for outcome in await asyncio.gather(*runs, return_exceptions=True):
        assert isinstance(outcome, DeadlineExceeded)


@pytest.mark.parametrize("optimize", [True, False])
async def test_a_run_that_does_not_end_is_ended_and_the_model_goes_on(
    endless_model: Path, optimize: bool
) -> None:
    options = ExecutionOptions(
        runner_threads=2, max_run_overtime_s=SOON_S, optimize_on_load=optimize
    )

    async with served(endless_model, options) as model:
        await give_up(model, times=2)
        await until(lambda: model.runners.statistics.running == 0)
        await until(lambda: model.runners.statistics.written_off == 0)

        assert (await model.run("spin", x=SHORT))[0].tolist() == [2]
        assert (await model.run("serving_default", x=SHORT))[0].tolist() == [2]
        assert servable_of(model).written_off_runs == 0


async def test_runs_that_somebody_waits_for_are_made_again_in_the_new_session(
    endless_model: Path,
) -> None:
    async with served(endless_model, OPTIONS) as model:
        session = servable_of(model)._model
        waiting = asyncio.create_task(
            model.run("spin", x=FOR_EVER, deadline=time.monotonic() + 10 * SOON_S)
        )
        await give_up(model)
        await until(lambda: servable_of(model)._model is not session)

        with pytest.raises(DeadlineExceeded):  # it was not cancelled with the session
            await waiting
        assert (await model.run("spin", x=SHORT))[0].tolist() == [2]


async def test_a_run_whose_caller_leaves_is_ended_too(endless_model: Path) -> None:
    async with served(endless_model, OPTIONS) as model:
        task = asyncio.create_task(model.run("spin", x=FOR_EVER))
        await until(lambda: model.runners.statistics.running == 1)

        task.cancel()

        await until(lambda: model.runners.statistics.running == 0)
        await until(lambda: model.runners.statistics.written_off == 0)


async def test_another_model_answers_while_all_threads_are_stuck(
    endless_model: Path, saved_model: SavedModel
) -> None:
    options = ExecutionOptions(runner_threads=2)  # nothing is written off while this lasts

    async with served(endless_model, options) as stuck:
        stuck_runs = [asyncio.create_task(stuck.run("spin", x=FOR_EVER)) for _ in range(3)]
        await until(lambda: stuck.runners.statistics.running == 2)

        async with served(saved_model("slow"), options, runners=stuck.runners) as other:
            for _ in range(5):
                started = time.monotonic()
                await other.run("sleep", milliseconds=np.array([1]))
                assert time.monotonic() - started < 5.0

        for run in stuck_runs:
            run.cancel()


async def test_a_model_refuses_while_too_many_of_its_runs_cannot_be_ended(
    saved_model: SavedModel,
) -> None:
    options = ExecutionOptions(
        runner_threads=1, max_run_overtime_s=SOON_S / 4, max_written_off_runs=2
    )

    async with served(saved_model("slow"), options) as model:
        servable = servable_of(model)
        for _ in range(2):  # sleeping is nothing that closing a session would end
            with pytest.raises(DeadlineExceeded):
                await model.run(
                    "sleep",
                    milliseconds=np.array([3000]),
                    deadline=time.monotonic() + SOON_S / 4,
                )
            await until(lambda: model.runners.statistics.running == 0)

        with pytest.raises(Unavailable, match="2 runs of model:1 do not end"):
            await model.run("sleep", milliseconds=np.array([1]))
        assert servable.refusal is not None
        readings = {reading.name: reading.value for reading in servable.readings()}
        assert readings["sigrun_model_written_off_runs"] == 2
        assert readings["sigrun_model_refuses"] is True

        await until(lambda: servable.written_off_runs < 2)
        await model.run("sleep", milliseconds=np.array([1]))


async def test_unloading_does_not_wait_for_a_loop(endless_model: Path) -> None:
    async with served(endless_model, ExecutionOptions(runner_threads=1)) as model:
        with pytest.raises(DeadlineExceeded):
            await model.run("spin", x=FOR_EVER, deadline=time.monotonic() + SOON_S)

        async with asyncio.timeout(FAR_S):
            await model.loader.unload()

        await until(lambda: model.runners.statistics.running == 0)


async def test_a_made_up_request_that_does_not_end_leaves_the_model_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "1"
    endless_when_made_up(path)
    options = ExecutionOptions(runner_threads=1, sample_runs_s=1.0)

    with caplog.at_level(logging.WARNING):
        async with served(path, options) as model:
            x = np.full((1, 1), 3, np.float32)
            assert (await model.run("serving_default", x=x))[0].tolist() == [[6]]

    assert caplog.text.count("requests that were made up took more than 1 s") == 1
    await until(lambda: not any("made-up" in thread.name for thread in threading.enumerate()))


async def test_state_is_kept_rather_than_ended_with_its_session(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.count = tf.Variable(0.0)
    spec = tf.TensorSpec([None], tf.float32, name="x")

    def spin(x: Any) -> dict[str, Any]:
        module.count.assign_add(1.0)
        (steps,) = tf.while_loop(
            lambda steps: steps + tf.reduce_max(x) <= 0.0, lambda steps: [steps * 1.0], [0.0]
        )
        return {"y": module.count + 0.0 * steps}

    module.spin = tf.function(spin, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"spin": module.spin})

    async with served(tmp_path / "1", OPTIONS) as model:
        await give_up(model)
        await until(lambda: servable_of(model).written_off_runs == 1)

        assert (await model.run("spin", x=SHORT))[0].tolist() == 2
