from __future__ import annotations

from collections.abc import Iterator

from sigrun.executors.run_statistics import RunStatistics
from sigrun.executors.running import RunningModels
from sigrun.servables.servable import ServableId
from sigrun.telemetry.metrics import Gauge, Reading


class FakeModel:
    def __init__(self, version: int, written_off_runs: int = 0, refusal: str | None = None) -> None:
        self.id = ServableId("m", version)
        self.written_off_runs = written_off_runs
        self.refusal = refusal
        self.runs = RunStatistics(self.id, {})

    def readings(self) -> Iterator[Reading]:
        yield Gauge(name="version", help="", value=self.id.version)


def test_readings_of_all_models_come_in_the_order_of_their_ids() -> None:
    running = RunningModels()
    models = [FakeModel(version) for version in (2, 1)]
    for model in models:
        running.add(model)

    assert [reading.value for reading in running.readings()] == [1, 2]


def test_models_in_trouble_are_named() -> None:
    running = RunningModels()
    well, one = FakeModel(1), FakeModel(2, written_off_runs=1)
    refuses = FakeModel(3, written_off_runs=4, refusal="4 runs do not end")
    for model in (well, one, refuses):
        running.add(model)

    assert running.troubles() == {
        ServableId("m", 2): "1 run goes on long after being given up",
        ServableId("m", 3): "4 runs do not end",
    }
    assert running.refusals() == {ServableId("m", 3): "4 runs do not end"}


def test_a_model_that_is_gone_is_forgotten() -> None:
    running = RunningModels()
    removed, dropped = FakeModel(1, written_off_runs=1), FakeModel(2, written_off_runs=1)
    running.add(removed)
    running.add(dropped)

    running.remove(removed)
    del dropped

    assert running.troubles() == {}
