"""Which executor runs which graph, with which threads; and what is left after unloading."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import DeadlineExceeded, SigrunError, Unavailable
from sigrun.tensors.signature import Signature

from .loading import END_S, Served, served, threads_for

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

SavedModel = Callable[[str], Path]
SOON_S = 0.05
ROOT = Path(__file__).resolve().parents[2]


def x(*values: float) -> Any:
    return np.array(values, dtype=np.float32)


def test_neither_the_import_nor_a_loader_imports_tensorflow() -> None:
    program = (
        "import sys; from sigrun.executors.saved_model import SavedModelLoader; "
        "sys.exit('tensorflow' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def write(path: Path, build: Callable[[], dict[str, Any]]) -> Path:
    from .saved_models import graphs

    graphs.write(path, lambda: graphs.MetaGraph(signatures=build()))
    return path


def control_flow_v1() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [], name="x")
    otherwise, then = tf.raw_ops.Switch(data=value, pred=value > 0.0)
    merged, _ = tf.raw_ops.Merge(inputs=[otherwise - 1.0, then + 1.0])
    return {"serving_default": graphs.signature({"x": value}, {"y": merged})}


def queue_in_one_run() -> dict[str, Any]:
    """Wait for an element that the same run puts in, after one that waits for longer."""
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [], name="x")
    queue = tf.queue.FIFOQueue(8, [tf.float32], shapes=[[]], shared_name="q")
    taken = queue.dequeue()
    with tf.control_dependencies([queue.enqueue(value)]):
        given = tf.identity(value)
    both = graphs.signature({"x": value}, {"given": given, "taken": tf.identity(taken)})
    return {"serving_default": both, "take": graphs.signature({}, {"taken": tf.identity(taken)})}


def batch_in_graph() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    double = tf.nondifferentiable_batch_function(2, 4, 1_000, autograph=False)(lambda v: v * 2.0)
    value = graphs.placeholder(tf.float32, [None], name="x")
    return {"serving_default": graphs.signature({"x": value}, {"y": double(value)})}


def write_for_two_devices(path: Path) -> Path:
    import tensorflow as tf

    from .saved_models import graphs

    v1 = tf.compat.v1
    config = v1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        value = graphs.placeholder(tf.float32, [None], name="x")
        with tf.device("/device:CPU:1"):
            double = value * 2.0
        with tf.device("/device:CPU:0"):
            signature = graphs.signature({"x": value}, {"y": double + 1.0})
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return path


def input_is_output() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [None], name="x")
    outputs = {"same": value, "y": value + 1.0, "z": value + 1.0}
    return {"serving_default": graphs.signature({"x": value, "again": value}, outputs)}


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("half_plus_two", "caller"),  # variables with references
        ("counter", "sequential"),
        ("keras_export", "sequential"),
        ("multi_head", "sequential"),
        ("slow", "sequential"),
        ("vocabulary_v1", "sequential"),
        ("vocabulary_v2", "sequential"),
    ],
)
def test_a_graph_is_run_in_the_cheapest_way_it_permits(
    kind: str, way: str, saved_model: SavedModel
) -> None:
    assert way_of(saved_model(kind)) == way


@pytest.mark.parametrize(
    ("build", "way"),
    [(control_flow_v1, "caller"), (queue_in_one_run, "threaded"), (batch_in_graph, "threaded")],
)
def test_graphs_that_need_more_than_one_order_get_it(
    build: Callable[[], dict[str, Any]], way: str, tmp_path: Path
) -> None:
    assert way_of(write(tmp_path / "1", build)) == way


def test_operations_that_wait_are_known_by_their_names() -> None:
    from tensorflow.core.framework import graph_pb2

    from sigrun.executors.saved_model.graph_analysis import choose_execution
    from sigrun.executors.saved_model.tensorflow_imports import op_def_registry

    def way(operation: str) -> str:
        assert op_def_registry.get(operation) is not None
        return choose_execution(graph_pb2.GraphDef(node=[{"name": "n", "op": operation}])).value

    waiting = ["QueueDequeueV2", "BarrierTakeMany", "Stage", "Unstage", "MapStage", "MapUnstage"]
    waiting += ["OrderedMapUnstage", "CollectiveReduce", "BatchFunction", "Unbatch"]
    assert {way(operation) for operation in waiting} == {"threaded"}
    assert {way(operation) for operation in ("MatMul", "BatchMatMulV2", "Pack")} == {"sequential"}


def way_of(path: Path) -> str:
    from sigrun.executors.saved_model.graph_analysis import choose_execution
    from sigrun.executors.saved_model.tensorflow_imports import loader_impl

    saved_model = loader_impl.parse_saved_model(str(path))
    return choose_execution(saved_model.meta_graphs[0].graph_def).value


@pytest.mark.asyncio
async def test_a_graph_that_refuses_the_way_that_was_chosen_gets_the_next(
    saved_model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sigrun.executors.saved_model import reading
    from sigrun.executors.saved_model.graph_analysis import Execution

    monkeypatch.setattr(reading, "choose_execution", lambda _graph: Execution.SEQUENTIAL)

    async with served(saved_model("half_plus_two")) as model:  # refused when it is restored
        assert await model.run("serving_default", x=x(1)) == [2.5]
    async with served(write(tmp_path / "1", control_flow_v1)) as model:  # when it is prepared
        assert await model.run("serving_default", x=np.array(3, np.float32)) == [4]


@pytest.mark.asyncio
async def test_a_graph_on_two_devices_runs(tmp_path: Path) -> None:
    from sigrun.executors.saved_model.tensorflow_imports import config_pb2

    config = config_pb2.ConfigProto(device_count={"CPU": 2})
    options = ExecutionOptions(session_config=config.SerializeToString(), runner_threads=2)

    async with served(write_for_two_devices(tmp_path / "1"), options) as model:
        answers = await asyncio.gather(*[model.run("serving_default", x=x(n)) for n in range(50)])

    assert [float(y[0]) for (y,) in answers] == [2.0 * n + 1 for n in range(50)]


@pytest.mark.asyncio
async def test_control_flow_of_tensorflow_1_runs(tmp_path: Path) -> None:
    async with served(write(tmp_path / "1", control_flow_v1)) as model:
        assert await model.run("serving_default", x=np.array(3, np.float32)) == [4]
        assert await model.run("serving_default", x=np.array(-3, np.float32)) == [-4]


@pytest.mark.asyncio
async def test_an_operation_may_wait_for_another_of_its_run(tmp_path: Path) -> None:
    async with served(write(tmp_path / "1", queue_in_one_run)) as model:
        for _ in range(20):
            outputs = await model.run("serving_default", x=np.array(3, np.float32))
            assert outputs == [3, 3]


@pytest.mark.asyncio
async def test_an_operation_may_wait_for_another_run(tmp_path: Path) -> None:
    options = ExecutionOptions(runner_threads=2)

    async with served(write(tmp_path / "1", queue_in_one_run), options) as model:
        waiting = asyncio.create_task(model.run("take"))
        await asyncio.sleep(0)
        await model.run("serving_default", ["given"], x=np.array(3, np.float32))
        assert await waiting == [3]


@pytest.mark.asyncio
async def test_a_graph_that_batches_by_itself_runs(tmp_path: Path) -> None:
    options = ExecutionOptions(runner_threads=4)

    async with served(write(tmp_path / "1", batch_in_graph), options) as model:
        runs = [model.run("serving_default", x=x(n)) for n in range(20)]
        answers = await asyncio.gather(*runs)

    assert [float(y[0]) for (y,) in answers] == [2.0 * n for n in range(20)]


@pytest.mark.asyncio
async def test_one_tensor_may_have_several_aliases(tmp_path: Path) -> None:
    async with served(write(tmp_path / "1", input_is_output)) as model:
        same, y, z = await model.run("serving_default", x=x(1, 2), again=x(1, 2))

    assert same.tolist() == [1, 2]
    assert y.tolist() == z.tolist() == [2, 3]


@pytest.mark.parametrize("inter_op_threads", [0, 2])
@pytest.mark.parametrize("kind", ["half_plus_two", "keras_export", "slow"])
@pytest.mark.asyncio
async def test_every_setting_of_threads_answers_the_same(
    kind: str, inter_op_threads: int, saved_model: SavedModel
) -> None:
    from sigrun.executors.saved_model.tensorflow_imports import config_pb2

    config = config_pb2.ConfigProto(log_device_placement=False, allow_soft_placement=True)
    options = ExecutionOptions(
        inter_op_threads=inter_op_threads, session_config=config.SerializeToString()
    )
    inputs, want = {
        "half_plus_two": ({"x": x(1)}, 2.5),
        "keras_export": ({"x": np.ones((1, 3), np.float32)}, 2.5),
        "slow": ({"n": np.array([3])}, 3),
    }[kind]

    async with served(saved_model(kind), options) as model:
        (y,) = await model.run("serving_default", **inputs)

    assert y.ravel().tolist() == [want]


@pytest.mark.asyncio
async def test_functions_answer_like_the_session(saved_model: SavedModel) -> None:
    from sigrun.executors.prepared import prepare, tensor_names
    from sigrun.executors.saved_model.functions import load_functions

    path = saved_model("module")
    async with served(path) as model:
        signatures = model.servable.signatures
        functions = load_functions(str(path), ExecutionOptions(), signatures)
        for name, inputs in {
            "serving_default": {"a": x(1, 2), "b": x(3, 4)},
            "weigh": {"x": np.ones((2, 2), np.float32)},
            "scaled": {"x": x(1, 2), "scale": np.array(3, np.float32)},
            "lengths": {"text": np.array([b"a", b"bc"], object)},
        }.items():
            names = tensor_names(signatures[name], signatures[name].outputs)
            call = prepare(*names, functions.make_call)
            got = call([inputs[alias] for alias in signatures[name].inputs])
            want = await model.run(name, **inputs)
            assert [(a.dtype, a.tolist()) for a in got] == [(a.dtype, a.tolist()) for a in want]


@pytest.mark.asyncio
async def test_functions_run_joined_signatures(saved_model: SavedModel) -> None:
    from sigrun.executors.prepared import prepare, tensor_names
    from sigrun.executors.saved_model.functions import load_functions

    path = saved_model("module")
    async with served(path) as model:
        signatures = model.servable.signatures
    functions = load_functions(str(path), ExecutionOptions(), signatures)
    joined = Signature(
        name="",
        method_name="",
        inputs=dict(signatures["weigh"].inputs) | dict(signatures["lengths"].inputs),
        outputs=dict(signatures["lengths"].outputs) | dict(signatures["weigh"].outputs),
    )

    call = prepare(*tensor_names(joined, ["y", "bytes"]), functions.make_call)
    y, lengths = call([np.ones((1, 2), np.float32), np.array([b"abc"], object)])

    assert y.tolist() == [[3, 3]]
    assert lengths.tolist() == [3]


@pytest.mark.asyncio
async def test_a_deadline_ends_the_wait_for_a_run(saved_model: SavedModel) -> None:
    async with served(saved_model("slow"), ExecutionOptions(runner_threads=1)) as model:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="Timed out waiting for notification"):
            await sleep(model, 1_000, deadline=started + SOON_S)
        assert time.monotonic() - started < 0.9

        # The abandoned run keeps the only runner until it ends.
        assert model.runners.statistics.running == 1
        await sleep(model, 0)
        assert time.monotonic() - started > 0.9


@pytest.mark.asyncio
async def test_the_event_loop_goes_on_while_a_model_runs(saved_model: SavedModel) -> None:
    async with served(saved_model("slow")) as model:
        running = asyncio.create_task(sleep(model, 300))
        turns = 0
        while not running.done():
            await asyncio.sleep(0.001)
            turns += 1

    assert turns > 50


@pytest.mark.asyncio
async def test_more_runs_than_may_wait_are_refused(saved_model: SavedModel) -> None:
    options = ExecutionOptions(runner_threads=1, max_queued_runs_per_model=2)

    async with served(saved_model("slow"), options) as model:
        runs = [sleep(model, 50) for _ in range(10)]
        answers = await asyncio.gather(*runs, return_exceptions=True)

    assert [type(answer) for answer in answers[:3]] == [list] * 3
    assert [type(answer) for answer in answers[3:]] == [Unavailable] * 7


async def sleep(model: Served, milliseconds: int, deadline: float | None = None) -> Any:
    return await model.run("sleep", deadline=deadline, milliseconds=np.array([milliseconds]))


@pytest.mark.asyncio
async def test_unloading_ends_a_run_that_would_wait_for_ever(tmp_path: Path) -> None:
    options = ExecutionOptions(runner_threads=1)

    async with served(write(tmp_path / "1", queue_in_one_run), options) as model:
        with pytest.raises(DeadlineExceeded):
            await model.run("take", deadline=time.monotonic() + SOON_S)
        await model.loader.unload()

        assert await model.runners.run(str, 1) == "1"  # the only runner is free again


@pytest.mark.asyncio
async def test_unloading_does_not_wait_for_a_run_that_nobody_waits_for(
    saved_model: SavedModel,
) -> None:
    async with served(saved_model("slow")) as model:
        with pytest.raises(DeadlineExceeded):
            await sleep(model, 2_000, deadline=time.monotonic() + SOON_S)
        started = time.monotonic()
        await model.loader.unload()
        assert time.monotonic() - started < 1.0


@pytest.mark.asyncio
async def test_unloading_twice_does_nothing(saved_model: SavedModel) -> None:
    async with threads_for(saved_model("half_plus_two")) as (loader, _):
        await loader.unload()
        await loader.load()
        await loader.unload()
        await loader.unload()


@pytest.mark.asyncio
async def test_a_servable_that_is_unloaded_fails_and_does_not_crash(
    saved_model: SavedModel,
) -> None:
    async with served(saved_model("half_plus_two")) as model:
        await model.loader.unload()
        with pytest.raises(SigrunError):
            await model.run("serving_default", x=x(1))


@pytest.mark.parametrize("kind", ["keras_export", "keras_in_module"])
@pytest.mark.asyncio
async def test_unloading_leaves_no_executor_behind(kind: str, saved_model: SavedModel) -> None:
    async with threads_for(saved_model(kind)) as (loader, _):
        servable = await loader.load()
        executor = weakref.ref(servable._model.executor)
        del servable
        await loader.unload()

        async with asyncio.timeout(END_S):  # a thread that made it may not have ended yet
            while executor() is not None:
                await asyncio.sleep(0.01)
                gc.collect()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_comes_back_after_unloading(tmp_path: Path) -> None:
    path, megabytes = write(tmp_path / "1", large_variable), 32

    # In a process of its own: how TensorFlow allocates is settled when it is first imported.
    command = [sys.executable, "-m", "tests.tensorflow.memory", str(path), "20"]
    printed = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    loaded, *unloaded = map(float, printed.split())

    assert loaded - unloaded[-1] > megabytes / 2
    assert unloaded[-1] - unloaded[0] < megabytes / 2


def large_variable() -> dict[str, Any]:
    import tensorflow as tf

    from .saved_models import graphs

    value = graphs.placeholder(tf.float32, [None], name="x")
    weights = tf.compat.v1.get_variable(
        "weights", initializer=tf.ones([8 * 2**20]), use_resource=True
    )
    return {"serving_default": graphs.signature({"x": value}, {"y": value + weights[0]})}
