"""Which runs are on the event loop itself, and which in the runner threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import DeadlineExceeded, InvalidArgument, SigrunError
from sigrun.executors.saved_model import SavedModelServable

from .loading import Served, served

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120), pytest.mark.asyncio]

SavedModel = Callable[[str], Path]


@dataclass(frozen=True)
class RunStatistics:
    inline: int
    in_threads: int


def statistics(model: Served) -> RunStatistics:
    servable = model.servable
    assert isinstance(servable, SavedModelServable)
    return RunStatistics(servable.inline_runs, servable.thread_runs)


def rows(count: int) -> Any:
    return np.ones((count, 3), np.float32)


async def test_a_small_model_runs_on_the_event_loop(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        for _ in range(10):
            assert (await model.run("serving_default", x=rows(2)))[0].tolist() == [[2.5], [2.5]]

        assert statistics(model) == RunStatistics(inline=10, in_threads=0)


async def test_inline_runs_need_no_runner(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        model.runners.close()

        assert (await model.run("serving_default", x=rows(1)))[0].tolist() == [[2.5]]


async def test_a_signature_whose_inputs_are_unknown_is_measured_in_threads(
    saved_model: SavedModel,
) -> None:
    x = np.ones(3, np.float32)

    async with served(saved_model("half_plus_two")) as model:
        for _ in range(30):
            assert (await model.run("serving_default", x=x))[0].tolist() == [2.5] * 3

        measured = statistics(model)
    assert measured.in_threads >= 5
    assert measured.inline + measured.in_threads == 30


async def test_much_larger_inputs_go_to_a_thread_first(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        await model.run("serving_default", x=rows(100_000))

        assert statistics(model) == RunStatistics(inline=0, in_threads=1)


async def test_a_new_set_of_outputs_is_prepared_in_a_thread(saved_model: SavedModel) -> None:
    a = np.ones(1, np.float32)

    async with served(saved_model("module")) as model:
        await model.run("serving_default", ["sum"], a=a, b=a)

        assert statistics(model) == RunStatistics(inline=0, in_threads=1)


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [("sleep", {"milliseconds": np.array([0])}), ("serving_default", {"n": np.array([0])})],
    ids=["waits", "repeats"],
)
async def test_what_may_take_any_time_never_runs_on_the_event_loop(
    signature: str, inputs: dict[str, Any], saved_model: SavedModel
) -> None:
    async with served(saved_model("slow")) as model:
        for _ in range(30):
            await model.run(signature, **inputs)

        assert statistics(model) == RunStatistics(inline=0, in_threads=30)


async def test_nothing_runs_on_the_event_loop_when_operations_have_threads(
    saved_model: SavedModel,
) -> None:
    async with served(saved_model("keras_export"), ExecutionOptions(inter_op_threads=2)) as model:
        await model.run("serving_default", x=rows(1))

        assert statistics(model) == RunStatistics(inline=0, in_threads=1)


async def test_what_keeps_state_is_measured_by_real_requests(saved_model: SavedModel) -> None:
    async with served(saved_model("counter")) as model:
        for count in range(30):
            assert (await model.run("incr_counter"))[0] == count + 1


async def test_a_deadline_that_has_passed_is_not_run_inline(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        with pytest.raises(DeadlineExceeded, match="Timed out waiting for notification"):
            await model.run("serving_default", x=rows(1), deadline=time.monotonic() - 1)

        assert statistics(model) == RunStatistics(inline=0, in_threads=0)


async def test_errors_are_the_same_on_the_event_loop(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        with pytest.raises(InvalidArgument, match="Matrix size-incompatible"):
            await model.run("serving_default", x=np.ones((1, 4), np.float32))

        assert statistics(model).inline == 1


async def test_memory_of_a_request_may_be_read_only(saved_model: SavedModel) -> None:
    x = np.frombuffer(b"-" + rows(2).tobytes(), np.float32, offset=1).reshape(2, 3)

    async with served(saved_model("keras_export")) as model:
        assert (await model.run("serving_default", x=x))[0].tolist() == [[2.5], [2.5]]
        assert statistics(model).inline == 1


async def test_an_unloaded_model_refuses_inline_runs(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        await model.run("serving_default", x=rows(1))
        await model.loader.unload()

        with pytest.raises(SigrunError, match="unloaded"):
            await model.run("serving_default", x=rows(1))


async def test_inline_and_thread_runs_answer_the_same(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        small, large = rows(2), rows(50_000)
        runs = [model.run("serving_default", x=x) for x in [small, large] * 10]
        answers = await asyncio.gather(*runs)

    for (y,) in answers:
        assert np.all(y == 2.5)


async def test_what_a_value_gives_its_size_never_runs_on_the_event_loop(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([], tf.int32, name="n")
    module.f = tf.function(
        lambda n: {"y": tf.reduce_sum(tf.fill([n, n], 1.0))}, input_signature=[spec]
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.f})

    async with served(tmp_path / "1") as model:
        for _ in range(30):
            await model.run("serving_default", n=np.array(2, np.int32))

        assert statistics(model) == RunStatistics(inline=0, in_threads=30)


async def test_a_caller_may_try_inline_without_waiting(saved_model: SavedModel) -> None:
    async with served(saved_model("keras_export")) as model:
        servable = model.servable
        assert isinstance(servable, SavedModelServable)
        signature = servable.signatures["serving_default"]
        outputs = list(signature.outputs)

        answer = servable.run_inline(signature, {"x": rows(2)}, outputs, deadline=None)
        large = servable.run_inline(signature, {"x": rows(100_000)}, outputs, deadline=None)

        assert answer is not None
        assert answer[0].tolist() == [[2.5], [2.5]]
        assert large is None
        with pytest.raises(DeadlineExceeded):
            servable.run_inline(signature, {"x": rows(1)}, outputs, deadline=time.monotonic() - 1)
