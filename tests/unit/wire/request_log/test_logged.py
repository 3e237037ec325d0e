"""A share of what succeeds becomes entries, and entries that find no room are counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sigrun.concurrency.pace import Pace, keep_on
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.request_log import RequestLogging, RequestLogLimits
from sigrun.errors import Unavailable
from sigrun.inference.calls import (
    Arrays,
    Inputs,
    ModelSpec,
    PredictCall,
    PredictResult,
    ResolvedSpec,
)
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import Counter, Gauge, Untyped
from sigrun.tensors.signature import Array, Signature
from sigrun.wire.request_log.logged import Logged
from sigrun.wire.request_log.records import Entry
from sigrun.wire.request_log.writer import RequestLogWriter
from tests.wire.model import PREDICT, SIGNATURES

X = np.array([1.0, 2.0], np.float32)
SPEC = ResolvedSpec("m", 3, "serving_default")


class Backend:
    """Binds the inputs of Predict and echoes them; the other calls are not asked here."""

    error: Exception | None = None

    async def predict(self, call: PredictCall) -> PredictResult:
        if self.error is not None:
            raise self.error
        inputs = call.inputs
        arrays = inputs.by_alias if isinstance(inputs, Arrays) else inputs.bind(PREDICT, keep_on)
        return PredictResult(SPEC, arrays)

    def predict_inline(self, call: PredictCall) -> PredictResult | None:
        assert isinstance(call.inputs, Arrays)
        return PredictResult(SPEC, call.inputs.by_alias)

    classify = regress = multi_inference = metadata = None


class Text:
    """Inputs that become arrays once the signature is known."""

    cost_s = 0.0

    def bind(self, signature: Signature, pace: Pace) -> Mapping[str, Array]:
        assert signature in SIGNATURES
        return {"x": X}


def call(inputs: Inputs) -> PredictCall:
    return PredictCall(ModelSpec("m"), inputs, CallContext(Door.REST))


def models(rate: float) -> ModelSet:
    logging = RequestLogging(filename_prefix="/log/m", sampling_rate=rate)
    return ModelSet((ModelConfig(name="m", base_path="/models/m", logging=logging),))


def logged(rate: float, draws: list[float]) -> tuple[Logged, Backend, list[Entry]]:
    entries: list[Entry] = []
    backend = Backend()
    log = Logged(
        backend,  # type: ignore[arg-type]
        lambda entry, logging: entries.append(entry),
        random=iter(draws).__next__,
    )
    log.follow(models(rate))
    return log, backend, entries


@pytest.mark.asyncio
async def test_the_share_that_a_model_asks_for_is_logged() -> None:
    log, _, entries = logged(0.5, [0.49, 0.5])

    for value in (1.0, 2.0):
        await log.predict(call(Arrays({"x": np.array(value)})))

    (entry,) = entries
    assert entry.target == SPEC
    assert entry.call.inputs == Arrays({"x": np.array(1.0)})  # type: ignore[union-attr]


def test_only_models_that_are_not_logged_answer_at_once() -> None:
    log, _, entries = logged(0.5, [])
    at_once = call(Arrays({"x": X}))

    assert log.predict_inline(at_once) is None
    assert log.predict_inline(at_once._replace(spec=ModelSpec("other"))) is not None
    assert entries == []


@pytest.mark.asyncio
async def test_a_body_is_logged_as_the_arrays_it_became() -> None:
    log, _, entries = logged(1.0, [0.0])

    await log.predict(call(Text()))

    assert isinstance(entries[0].call, PredictCall)
    assert isinstance(entries[0].call.inputs, Arrays)
    np.testing.assert_array_equal(entries[0].call.inputs.by_alias["x"], X)


@pytest.mark.asyncio
async def test_what_fails_and_what_no_model_asks_for_is_not_logged() -> None:
    log, backend, entries = logged(1.0, [0.0])
    backend.error = Unavailable("full")
    with pytest.raises(Unavailable):
        await log.predict(call(Text()))
    backend.error = None
    log.follow(ModelSet())

    await log.predict(call(Text()))

    assert not entries


def test_what_finds_no_room_is_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    has_opened, may_go_on = threading.Event(), threading.Event()

    def clock() -> float:  # asked when a file is opened, in the writer's thread
        has_opened.set()
        may_go_on.wait(10)
        return 0.0

    writer = RequestLogWriter(RequestLogLimits(max_waiting_bytes=2500), clock)
    logging = RequestLogging(filename_prefix=str(tmp_path / "m"), sampling_rate=1.0)
    arrays = {"x": X}
    entry = Entry(
        call=call(Arrays(arrays)), result=PredictResult(SPEC, arrays), target=SPEC, answered_at=0.0
    )

    for _ in range(4):
        writer.put(entry, logging)
    has_opened.wait(10)
    may_go_on.set()
    writer.close(10)

    counted = {
        (reading.name, *reading.labels.values()): reading.value
        for reading in writer.readings()
        if isinstance(reading, Counter | Gauge | Untyped)
    }
    assert counted == {
        ("sigrun_request_log_waiting_bytes",): 0,
        ("sigrun_request_log_records", "m", "written"): 2,
        ("sigrun_request_log_records", "m", "dropped"): 2,
        (":tensorflow:serving:request_log_count", "m", "OK"): 2,
        (":tensorflow:serving:request_log_count", "m", "RESOURCE_EXHAUSTED"): 2,
    }
    assert len(caplog.messages) == 1


def test_a_disk_that_fails_is_told_of_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = RequestLogWriter(RequestLogLimits())
    logging = RequestLogging(filename_prefix=str(tmp_path / "file" / "m"), sampling_rate=1.0)
    entry = Entry(
        call=call(Arrays({"x": X})),
        result=PredictResult(SPEC, {"y": X}),
        target=SPEC,
        answered_at=0.0,
    )

    for _ in range(2):
        writer.put(entry, logging)
    writer.close(10)

    (failed,) = (one for one in writer.readings() if isinstance(one, Counter))
    assert (failed.labels["outcome"], failed.value) == ("failed", 2)
    assert len(caplog.messages) == 1
