from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import replace

import pytest

from sigrun.batching.runners import BatchRunners
from sigrun.batching.servable import JOINED_SIGNATURES, BatchingLoader
from sigrun.batching.statistics import BatchingInstruments
from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument, NotFound
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec
from tests.fakes.lifecycle import let_others_run
from tests.fakes.servables import HALF_PLUS_TWO, FakeLoader, FakeServable, signature
from tests.unit.batching.harness import MNIST, Batching, floats, renamed

pytestmark = pytest.mark.asyncio

FLOAT = DType.FLOAT
BOTH = signature({"x": FLOAT}, {"sum": FLOAT, "double": FLOAT})


def sum_and_double(inputs: Mapping[str, Array]) -> dict[str, Array]:
    x = inputs["x"]
    return {"sum": x + 1, "double": x * 2}


def aliased(tensors: Mapping[str, str], outputs: Mapping[str, str], name: str) -> Signature:
    """Return a signature of float tensors, given as {alias: tensor}."""

    def specs(names: Mapping[str, str]) -> dict[str, TensorSpec]:
        return {
            alias: TensorSpec(name=tensor, dtype=FLOAT, shape=None)
            for alias, tensor in names.items()
        }

    return Signature(name=name, method_name="", inputs=specs(tensors), outputs=specs(outputs))


async def test_the_signatures_are_those_of_the_servable() -> None:
    batching = Batching()

    assert batching.batched.signatures is batching.inner.signatures


async def test_signatures_with_the_same_tensors_share_a_batch_and_keep_their_order() -> None:
    first = aliased({"x": "x:0", "y": "y:0"}, {"sum": "s:0", "difference": "d:0"}, "first")
    second = aliased({"right": "y:0", "left": "x:0"}, {"minus": "d:0", "plus": "s:0"}, "second")

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        x, y = inputs["x"], inputs["y"]
        return {"sum": x + y, "difference": x - y}

    batching = Batching(signatures=[first, second], compute=compute)

    one = batching.send(first, {"x": floats(5), "y": floats(3)})
    other = batching.send(second, {"left": floats(9), "right": floats(1)})

    assert [array.tolist() for array in await one] == [[8], [2]]
    assert [array.tolist() for array in await other] == [[8], [10]]
    assert batching.sizes == [2]


async def test_requests_for_other_outputs_do_not_share_a_batch() -> None:
    batching = Batching(signatures=[BOTH], compute=sum_and_double)

    both = batching.send(BOTH, {"x": floats(1)})
    double = batching.send(BOTH, {"x": floats(2)}, ["double"])

    assert [array.tolist() for array in await both] == [[2], [2]]
    assert [array.tolist() for array in await double] == [[4]]
    assert batching.sizes == [1, 1]


async def test_requests_for_the_same_outputs_share_a_batch_in_whatever_order() -> None:
    batching = Batching(signatures=[BOTH], compute=sum_and_double)

    one = batching.send(BOTH, {"x": floats(1)}, ["sum", "double"])
    other = batching.send(BOTH, {"x": floats(2)}, ["double", "sum"])

    assert [array.tolist() for array in await one] == [[2], [2]]
    assert [array.tolist() for array in await other] == [[4], [3]]
    assert batching.sizes == [2]


async def test_tensors_of_one_name_and_other_types_do_not_share_a_batch() -> None:
    double = replace(
        HALF_PLUS_TWO,
        name="double",
        inputs={"x": replace(HALF_PLUS_TWO.inputs["x"], dtype=DType.DOUBLE)},
    )
    batching = Batching(signatures=[HALF_PLUS_TWO, double])

    await asyncio.gather(
        batching.send(HALF_PLUS_TWO, {"x": floats(1)}),
        batching.send(double, {"x": floats(1).astype("f8")}),
    )

    assert batching.sizes == [1, 1]


async def test_one_tensor_under_two_aliases_is_fed_and_fetched_once() -> None:
    twice = aliased({"a": "x:0", "b": "x:0"}, {"c": "y:0", "d": "y:0"}, "twice")
    batching = Batching(
        signatures=[twice], compute=lambda inputs: dict.fromkeys("cd", inputs["a"] + inputs["b"])
    )

    tasks = [batching.send(twice, {"a": floats(x), "b": floats(x)}) for x in (1, 2)]
    first, second = await asyncio.gather(*tasks)

    assert [array.tolist() for array in first] == [[2], [2]]
    assert [array.tolist() for array in second] == [[4], [4]]
    assert batching.sizes == [2]


async def test_a_joined_signature_is_batched_with_its_like() -> None:
    def joined() -> Signature:  # made anew for each request
        return aliased({"serving_default/x": "x:0"}, {"serving_default/y": "y:0"}, "a+b")

    batching = Batching(
        signatures=[BOTH], compute=lambda inputs: {"serving_default/y": inputs["serving_default/x"]}
    )

    tasks = [batching.send(joined(), {"serving_default/x": floats(x)}) for x in (1, 2)]
    first, second = await asyncio.gather(*tasks)

    assert (first[0].tolist(), second[0].tolist()) == ([1], [2])
    assert batching.sizes == [2]
    assert batching.statistics(JOINED_SIGNATURES).runs == 1


async def test_a_joined_signature_is_not_taken_for_the_one_whose_name_it_has() -> None:
    batching = Batching(signatures=[BOTH], compute=sum_and_double)
    other = aliased({"x": "elsewhere:0"}, {"sum": "s:0", "double": "d:0"}, BOTH.name)

    await asyncio.gather(
        batching.send(BOTH, {"x": floats(1)}), batching.send(other, {"x": floats(2)})
    )

    assert batching.sizes == [1, 1]


async def test_a_signature_that_cannot_be_fed_is_left_to_the_executor() -> None:
    sparse = aliased({"x": ""}, {"y": "y:0"}, "sparse")

    def refuse(_: Mapping[str, Array]) -> dict[str, Array]:
        raise InvalidArgument("sparse")

    batching = Batching(signatures=[sparse], compute=refuse)

    with pytest.raises(InvalidArgument, match=r"^sparse$"):
        await batching.send(sparse, {"x": floats(1)})


async def test_queues_that_requests_make_are_given_up_when_there_are_many() -> None:
    many = signature({"x": FLOAT}, {str(number): FLOAT for number in range(100)})
    batching = Batching(
        signatures=[many], compute=lambda inputs: dict.fromkeys(many.outputs, inputs["x"])
    )

    for alias in many.outputs:
        await batching.send(many, {"x": floats(1)}, [alias])
    gc.collect()

    assert len(batching.batched._schedulers) == 1 + 32
    assert await batching.send(many, {"x": floats(5)}, ["7"]) == [floats(5)]


async def test_every_signature_is_counted_by_itself() -> None:
    other = renamed(aliased({"x": "z:0"}, {"y": "y:0"}, ""), "other")
    batching = Batching(signatures=[HALF_PLUS_TWO, other])

    await asyncio.gather(batching.ask(1), batching.ask(2), batching.send(other, {"x": floats(1)}))

    assert batching.statistics().request_rows.count == 2
    assert batching.statistics("other").request_rows.count == 1


async def test_draining_waits_for_what_runs() -> None:
    batching = Batching()
    batching.inner.gate.clear()
    tasks = [batching.ask(2), batching.ask(4)]
    await let_others_run()
    last = batching.ask(6)

    drained = asyncio.ensure_future(batching.batched.drain())
    await let_others_run()
    before = drained.done()
    batching.inner.gate.set()
    await drained

    assert not before
    assert [(await task)[0].tolist() for task in (*tasks, last)] == [[3], [4], [5]]


class Loading:
    """A batching loader around a fake one."""

    def __init__(
        self, options: BatchingOptions | Exception | None, loader: FakeLoader | None = None
    ) -> None:
        self.inner = loader or FakeLoader(MNIST, revision="a revision")
        self.loader = BatchingLoader(
            self.inner,
            read_options=self._read,
            runners=BatchRunners(1),
            instruments=BatchingInstruments(),
        )
        self._options = options

    def _read(self) -> BatchingOptions | None:
        if isinstance(self._options, Exception):
            raise self._options
        return self._options


async def test_a_loader_is_known_as_the_one_that_it_wraps() -> None:
    loader = Loading(None).loader

    assert (loader.id, loader.revision) == (MNIST, "a revision")


async def test_what_is_loaded_is_batched() -> None:
    loading = Loading(BatchingOptions())
    servable = await loading.loader.load()

    await asyncio.gather(
        *[servable.run(HALF_PLUS_TWO, {"x": floats(x)}, ["y"], deadline=None) for x in (1, 2)]
    )

    assert isinstance(loading.inner.servable, FakeServable)
    assert len(loading.inner.servable.runs) == 1


async def test_a_version_without_options_is_not_batched() -> None:
    loading = Loading(None)

    assert await loading.loader.load() is loading.inner.servable


async def test_bad_options_fail_the_load_before_anything_is_loaded() -> None:
    loading = Loading(InvalidArgument("bad options"))

    with pytest.raises(InvalidArgument, match=r"^bad options$"):
        await loading.loader.load()

    assert loading.inner.loads == 0


async def test_a_load_that_fails_can_be_tried_again() -> None:
    loading = Loading(BatchingOptions(), FakeLoader(MNIST, errors=[NotFound("no file")]))

    with pytest.raises(NotFound):
        await loading.loader.load()
    servable = await loading.loader.load()

    assert servable.signatures == {"serving_default": HALF_PLUS_TWO}


async def test_queues_are_drained_before_the_version_is_unloaded() -> None:
    servable = FakeServable()
    servable.gate.clear()
    loading = Loading(BatchingOptions(), FakeLoader(MNIST, servable=servable))
    batched = await loading.loader.load()
    task = asyncio.ensure_future(batched.run(HALF_PLUS_TWO, {"x": floats(2)}, ["y"], deadline=None))
    await let_others_run()

    unloading = asyncio.ensure_future(loading.loader.unload())
    await let_others_run()
    before = loading.inner.unloads
    servable.gate.set()
    await unloading

    assert (before, loading.inner.unloads) == (0, 1)
    assert (await task)[0].tolist() == [3]


def inline(batching: Batching, *x: float, of: Signature = HALF_PLUS_TWO) -> list[float] | None:
    """Ask for an answer at once; None where the request is to be run."""
    outputs = batching.batched.run_inline(of, {"x": floats(*x)}, ("y",), deadline=None)
    return None if outputs is None else list(outputs[0])


async def short_runs(*, row_s: float = 1e-6, is_quick: bool = True) -> Batching:
    """Return a model whose runs are known to take `row_s` for each row."""
    batching = Batching(row_s=row_s)
    batching.inner.may_run_inline = is_quick
    for _ in range(8):
        await asyncio.gather(batching.ask(1))
    return batching


async def test_short_runs_are_answered_inline_until_one_in_sixteen_looks_about() -> None:
    batching = await short_runs()
    before = batching.statistics().runs

    answers = [inline(batching, 2) for _ in range(20)]

    answered = answers.count([3])
    assert 0 < answered <= 15
    assert answers == [[3]] * answered + [None] * (20 - answered)
    assert batching.statistics().runs - before == answered
    await asyncio.gather(batching.ask(1))
    assert [inline(batching, 2) for _ in range(16)] == [[3]] * 15 + [None]


@pytest.mark.parametrize(("row_s", "is_quick"), [(1.0, True), (1e-6, False)])
async def test_runs_that_are_long_or_have_to_wait_are_not_answered_inline(
    row_s: float, is_quick: bool
) -> None:
    batching = await short_runs(row_s=row_s, is_quick=is_quick)

    assert inline(batching, 2) is None
    (y,) = await batching.ask(2)
    assert list(y) == [3]


async def test_what_has_a_queue_of_its_own_is_not_answered_inline() -> None:
    batching = await short_runs()

    assert inline(batching, 2, of=renamed(HALF_PLUS_TWO, "joined")) is None


async def test_a_request_that_fails_inline_counts_as_one_that_went_past() -> None:
    batching = await short_runs()

    def fail(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        raise InvalidArgument("no")

    batching.inner._compute = fail
    failed = 0
    while True:
        try:
            if inline(batching, 2) is None:
                break
        except InvalidArgument:
            failed += 1

    assert 0 < failed <= 15


async def test_nobody_asks_for_answers_inline_where_there_are_none() -> None:
    short, long = await short_runs(), await short_runs(row_s=1.0)

    assert short.batched.may_run_inline
    assert not long.batched.may_run_inline
    while inline(short, 2) is not None:
        pass
    assert not short.batched.may_run_inline
