"""What versions go through on their way to being served can be read as metrics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from sigrun.config.models import AllVersions
from sigrun.errors import Code, InvalidArgument
from sigrun.servables.folders import Revision
from sigrun.servables.load_metrics import LoadMetrics, ReloadMetrics, VersionMetrics
from sigrun.servables.servable import Loader, ServableId
from sigrun.telemetry.metrics import Distribution, Gauge, Reading
from tests.fakes.lifecycle import Lifecycle, models
from tests.fakes.servables import FakeLoader

MNIST = ServableId("mnist", 1)
AT_FIRST = Revision("/models/mnist/1", frozenset(), 0.0)


def labelled(readings: Iterable[Reading], name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric, the counts of a distribution, by its labels."""
    return {
        tuple(one.labels.values()): one.value.count if isinstance(one, Distribution) else one.value
        for one in readings
        if one.name == name
    }


@pytest.mark.asyncio
async def test_loads_are_counted_by_outcome_and_timed() -> None:
    metrics = LoadMetrics(clock=iter((0.0, 2.0, 10.0, 13.0)).__next__)
    loader = FakeLoader(MNIST, errors=[InvalidArgument("no graph")])

    def make(id: ServableId, path: Path, revision: Revision) -> Loader:
        return loader

    observed = metrics.around(make)(MNIST, Path("/models/mnist/1"), AT_FIRST)
    with pytest.raises(InvalidArgument):
        await observed.load()
    await observed.load()

    assert labelled(metrics.readings(), "sigrun_load_duration_seconds") == {
        ("mnist", "INVALID_ARGUMENT"): 1,
        ("mnist", "OK"): 1,
    }
    sums = [one.value.sum for one in metrics.readings() if isinstance(one, Distribution)]
    assert sums == [2.0, 3.0]
    await observed.unload()
    assert (observed.id, loader.unloads) == (MNIST, 1)


@pytest.mark.asyncio
async def test_the_state_of_every_version_is_shown(tmp_path: Path) -> None:
    life = Lifecycle(tmp_path)
    for version in (1, 2):
        life.add_version("mnist", version)
    life.errors["mnist:2"] = InvalidArgument("no graph")
    metrics = VersionMetrics(life.models, life.monitor, life.manager)
    await life.models.start(models(life.model("mnist", policy=AllVersions())))

    with life.manager.acquire("mnist"):
        readings = list(metrics.readings())

    assert labelled(readings, "sigrun_model_version_state") == {
        ("mnist", "2", "END"): 1,
        ("mnist", "1", "AVAILABLE"): 1,
    }
    assert labelled(readings, "sigrun_model_version_failed") == {
        ("mnist", "2"): True,
        ("mnist", "1"): False,
    }
    assert labelled(readings, "sigrun_model_in_flight_requests") == {("mnist", "1"): 1}


def test_the_last_reload_and_its_outcome_are_known() -> None:
    metrics = ReloadMetrics(clock=iter((100.0, 200.0)).__next__)
    tell = metrics.teller("file")

    tell(Code.OK)
    tell(Code.NOT_FOUND)

    assert labelled(metrics.readings(), "sigrun_reloads") == {
        ("file", "OK"): 1,
        ("file", "NOT_FOUND"): 1,
    }
    (succeeded, ended_at) = (one for one in metrics.readings() if isinstance(one, Gauge))
    assert (succeeded.value, ended_at.value) == (False, 200.0)
