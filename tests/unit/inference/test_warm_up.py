from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from sigrun.concurrency.offload import Offload
from sigrun.config.warm_up import WarmUpOptions
from sigrun.errors import FailedPrecondition, InvalidArgument, Unavailable
from sigrun.inference.calls import Arrays, ExamplesCall, ModelSpec, PredictCall
from sigrun.inference.context import INTERNAL, CallContext
from sigrun.inference.warm_up import (
    ClassifyCall,
    RegressCall,
    WarmingLoader,
    WarmUpCall,
    WarmUps,
)
from sigrun.servables.servable import ServableId
from sigrun.telemetry.metrics import Untyped
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec
from tests.fakes.lifecycle import FakeClock
from tests.fakes.servables import (
    HALF_PLUS_TWO,
    FakeLoader,
    FakeServable,
    half_plus_two,
    signature,
)

pytestmark = pytest.mark.asyncio

ID = ServableId("half_plus_two", 3)


def predict(name: str = "another", signature_name: str = "", **inputs: Any) -> PredictCall:
    arrays = inputs or {"x": np.ones(1, np.float32)}
    return PredictCall(
        spec=ModelSpec(name, signature_name=signature_name),
        inputs=Arrays(arrays),
        context=INTERNAL,
    )


class Rig:
    """A warming loader of a fake servable, and the calls that lie beside it."""

    def __init__(
        self,
        calls: Sequence[WarmUpCall | Exception] = (),
        *,
        servable: FakeServable | None = None,
        batch_rows: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self.servable = servable or FakeServable()
        self.inner = FakeLoader(ID, servable=self.servable, revision="r")
        self.warm_ups = WarmUps()
        self.calls = calls
        self.contexts: list[CallContext] = []
        self.loader = WarmingLoader(
            self.inner,
            model_path="/models/half_plus_two/3",
            read_calls=self._read,
            read_batch_rows=lambda: batch_rows,
            options=WarmUpOptions(**options),
            offload=Offload(),
            warm_ups=self.warm_ups,
            clock=clock,
        )

    def _read(self, context: CallContext) -> Iterator[WarmUpCall]:
        self.contexts.append(context)
        for call in self.calls:
            if isinstance(call, Exception):
                raise call
            yield call

    @property
    def rows(self) -> list[int]:
        return [len(inputs["x"]) for _, inputs, _, _ in self.servable.runs]

    def records_read(self) -> dict[str, float]:
        return {
            reading.labels["status"]: reading.value
            for reading in self.warm_ups.readings()
            if isinstance(reading, Untyped)
        }


async def test_the_calls_beside_a_model_are_made_before_it_is_handed_over() -> None:
    rig = Rig([predict(), predict()])

    servable = await rig.loader.load()

    assert servable is rig.servable
    assert rig.rows == [1, 1]
    assert rig.records_read() == {"OK": 2}


async def test_each_is_made_as_often_as_is_wanted() -> None:
    rig = Rig([predict()], iterations=3)

    await rig.loader.load()

    assert rig.rows == [1, 1, 1]


async def test_each_is_made_at_all_batch_sizes_where_that_is_wanted() -> None:
    call = predict(x=np.array([3, 4], np.float32))
    rig = Rig([call], at_all_batch_sizes=True, batch_rows=(4, 8))

    await rig.loader.load()

    assert rig.rows == [2, 4, 8]
    assert rig.servable.runs[1][1]["x"].tolist() == [3, 3, 3, 3]


async def test_calls_have_the_time_that_a_warm_up_has() -> None:
    rig = Rig([predict()], limit_s=1000.0)

    await rig.loader.load()

    assert rig.contexts[0].deadline is not None


async def test_none_is_made_where_that_is_turned_off() -> None:
    rig = Rig([predict()], replays=False)

    await rig.loader.load()

    assert rig.rows == []
    assert rig.records_read() == {}


async def test_a_call_that_fails_fails_the_load_and_leaves_nothing_behind() -> None:
    rig = Rig([predict(), predict(signature_name="gone")])

    with pytest.raises(FailedPrecondition, match=r"3 failed at request 2: .*\"gone\""):
        await rig.loader.load()

    assert rig.inner.unloads == 1
    assert rig.records_read() == {"FAILED_PRECONDITION": 2}


async def test_a_file_that_cannot_be_read_fails_the_load() -> None:
    rig = Rig([InvalidArgument("no call")])

    with pytest.raises(InvalidArgument, match="at request 1: no call"):
        await rig.loader.load()

    assert rig.inner.unloads == 1


async def test_a_load_that_fails_is_not_warmed_up() -> None:
    rig = Rig([predict()])
    rig.inner.errors.append(Unavailable("full"))

    with pytest.raises(Unavailable, match=r"^full$"):
        await rig.loader.load()

    assert (rig.contexts, rig.inner.unloads) == ([], 0)


async def test_examples_go_to_classify_and_regress() -> None:
    examples = np.array([b"", b""], object)
    kind = signature(
        {"inputs": DType.STRING}, {"scores": DType.FLOAT, "outputs": DType.FLOAT}, name="both"
    )

    def compute(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        rows = len(inputs["inputs"])
        return {"scores": np.ones((rows, 2), np.float32), "outputs": np.ones(rows, np.float32)}

    call = ExamplesCall(
        spec=ModelSpec("m", signature_name="both"),
        examples=examples,
        context=INTERNAL,
    )
    regress = dataclasses.replace(kind, name="r", outputs={"outputs": kind.outputs["outputs"]})
    classify = dataclasses.replace(kind, outputs={"scores": kind.outputs["scores"]})
    rig = Rig(
        [
            ClassifyCall(call),
            RegressCall(dataclasses.replace(call, spec=ModelSpec("m", signature_name="r"))),
        ],
        servable=FakeServable([classify, regress], compute),
    )

    await rig.loader.load()

    assert [outputs for _, _, outputs, _ in rig.servable.runs] == [("scores",), ("outputs",)]


async def test_revision_and_unload_are_those_of_the_loader_inside() -> None:
    rig = Rig()
    await rig.loader.load()

    await rig.loader.unload()

    assert (rig.loader.id, rig.loader.revision, rig.inner.unloads) == (ID, "r", 1)


# Requests that are made up


async def test_a_request_is_made_up_for_each_batch_size() -> None:
    rig = Rig(synthesizes=True, batch_rows=(1, 4, 16))

    await rig.loader.load()

    assert rig.rows == [1, 4, 16]
    assert rig.servable.runs[0][1]["x"].dtype == np.float32


async def test_without_batch_sizes_it_has_one_row() -> None:
    rig = Rig(synthesizes=True)

    await rig.loader.load()

    assert rig.rows == [1]


async def test_a_request_that_is_made_up_may_fail() -> None:
    def refuse(_: Mapping[str, Array]) -> Mapping[str, Array]:
        raise InvalidArgument("no such image")

    rig = Rig(synthesizes=True, servable=FakeServable(compute=refuse))

    assert await rig.loader.load() is rig.servable


def with_shape(shape: tuple[int | None, ...] | None) -> Signature:
    spec = TensorSpec(name="x:0", dtype=DType.FLOAT, shape=shape)
    return dataclasses.replace(HALF_PLUS_TWO, inputs={"x": spec})


@pytest.mark.parametrize(
    "untouched",
    [
        dataclasses.replace(HALF_PLUS_TWO, changes_state=True),
        with_shape(None),
        with_shape((None, 2**23)),
        dataclasses.replace(
            HALF_PLUS_TWO, outputs={"y": TensorSpec(name="", dtype=DType.FLOAT, shape=None)}
        ),
    ],
)
async def test_none_is_made_up_that_changes_state_is_large_or_cannot_be_known(
    untouched: Signature,
) -> None:
    rig = Rig(synthesizes=True, servable=FakeServable([untouched]))

    await rig.loader.load()

    assert rig.servable.runs == []


async def test_a_fixed_first_dimension_is_kept() -> None:
    rig = Rig(synthesizes=True, servable=FakeServable([with_shape((3,))]), batch_rows=(1, 8))

    await rig.loader.load()

    assert rig.rows == [3]


async def test_what_is_made_up_ends_with_the_time_and_the_version_is_served() -> None:
    clock = FakeClock()

    def compute(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        clock.now += 6.0
        return half_plus_two(inputs)

    servable = FakeServable(compute=compute)
    rig = Rig(synthesizes=True, batch_rows=(1, 2, 3), limit_s=10.0, clock=clock, servable=servable)

    assert await rig.loader.load() is rig.servable

    assert rig.rows == [1, 2]


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"limit_s": 0.0}])
async def test_options_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        WarmUpOptions(**settings)
