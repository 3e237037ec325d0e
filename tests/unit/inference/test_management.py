from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sigrun.config.models import AllVersions, ModelSet
from sigrun.errors import InvalidArgument, NotFound, Unknown
from sigrun.inference.calls import ModelSpec, StatusCall
from sigrun.inference.context import INTERNAL
from sigrun.inference.management import ModelManagement
from sigrun.servables.readiness import Readiness
from sigrun.servables.state import State
from tests.fakes.lifecycle import Lifecycle, let_others_run, models

pytestmark = pytest.mark.asyncio


@pytest.fixture
def life(tmp_path: Path) -> Lifecycle:
    return Lifecycle(tmp_path)


@pytest.fixture
def management(life: Lifecycle) -> ModelManagement:
    readiness = Readiness(life.models, life.monitor)
    life.stream.subscribe(readiness.update)
    return ModelManagement(life.models, life.monitor, readiness)


async def serve_mnist(life: Lifecycle) -> ModelSet:
    """Start with versions 1, 2 (broken) and 10 of mnist; return the set."""
    for version in (1, 2, 10):
        life.add_version("mnist", version)
    life.errors["mnist:2"] = InvalidArgument("no graph")
    started = models(life.model("mnist", AllVersions(), labels={"stable": 1}))
    await life.models.start(started)
    return started


# Status


async def test_status_has_every_version_highest_first(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)

    status = await management.status(StatusCall(spec=ModelSpec(name="mnist"), context=INTERNAL))

    assert [(version, state.state) for version, state in status.items()] == [
        (10, State.AVAILABLE),
        (2, State.END),
        (1, State.AVAILABLE),
    ]
    assert str(status[2].error) == "no graph"


async def test_status_of_one_version_has_that_one_alone(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)

    assert list(
        await management.status(
            StatusCall(spec=ModelSpec(name="mnist", version=2), context=INTERNAL)
        )
    ) == [2]


async def test_a_label_does_not_narrow_the_status(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)

    assert list(
        await management.status(
            StatusCall(spec=ModelSpec(name="mnist", label="stable"), context=INTERNAL)
        )
    ) == [10, 2, 1]


async def test_a_model_that_was_removed_still_has_a_status(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)

    await management.reload(models())
    await life.states.until("mnist:1 END")
    await life.states.until("mnist:10 END")

    status = await management.status(StatusCall(spec=ModelSpec(name="mnist"), context=INTERNAL))
    assert {state.state for state in status.values()} == {State.END}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (ModelSpec(name="iris"), "Could not find any versions of model iris"),
        (ModelSpec(name="iris", version=1), "Could not find any versions of model iris"),
        (ModelSpec(name=""), "Could not find any versions of model "),
        (ModelSpec(name="mnist", version=3), "Could not find version 3 of model mnist"),
    ],
)
async def test_there_is_no_status_of_what_was_never_heard_of(
    life: Lifecycle, management: ModelManagement, spec: ModelSpec, text: str
) -> None:
    await serve_mnist(life)

    with pytest.raises(NotFound) as refused:
        await management.status(StatusCall(spec=spec, context=INTERNAL))

    assert str(refused.value) == text


# All models, and whether they are ready


async def test_every_model_is_listed_with_its_versions(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)

    listed = await management.models(INTERNAL)

    assert {name: list(states) for name, states in listed.items()} == {"mnist": [10, 2, 1]}


async def test_a_model_that_has_no_version_yet_is_listed_as_well(
    life: Lifecycle, management: ModelManagement
) -> None:
    life.add_version("mnist", 1)
    await life.models.start(models(life.model("mnist"), life.model("iris")))

    assert (await management.models(INTERNAL))["iris"] == {}


async def test_what_keeps_the_server_from_being_ready_is_told(
    life: Lifecycle, management: ModelManagement
) -> None:
    assert await management.blockers() == ["the initial models are not settled yet"]


# Reload


async def test_a_reload_returns_when_the_new_set_is_in_force(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    await serve_mnist(life)
    life.add_version("iris", 1)
    caplog.set_level("INFO")

    await management.reload(models(life.model("iris")))

    assert life.models.current.names == {"iris"}
    assert "reloaded: now serving iris" in caplog.text


async def test_a_reload_that_is_refused_raises_and_is_logged(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    await serve_mnist(life)
    life.add_version("iris", 1)
    life.errors["iris:1"] = InvalidArgument("no graph")

    with pytest.raises(Unknown, match="1 model"):
        await management.reload(models(life.model("iris")))

    assert "a reload was refused: UNKNOWN: 1 model(s) did not become available" in caplog.text


async def test_a_reload_goes_on_when_its_caller_leaves(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    asking = asyncio.create_task(management.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    life.loaders["iris:1"].release.set()
    await life.states.until("mnist:1 END")

    assert life.models.current.names == {"iris"}


async def test_a_reload_without_caller_that_fails_is_logged(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    started = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    life.errors["iris:1"] = InvalidArgument("no graph")
    asking = asyncio.create_task(management.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    asking.cancel()
    life.loaders["iris:1"].release.set()
    await life.states.until("iris:1 END")
    await let_others_run()

    assert life.models.current == started
    assert "a reload was refused: UNKNOWN" in caplog.text


async def test_closing_gives_up_a_reload_that_is_under_way(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    started = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    asking = asyncio.create_task(management.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    await management.close()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert life.models.current == started
    assert "a reload was given up" in caplog.text


async def test_closing_is_over_at_once_when_nothing_is_under_way(
    management: ModelManagement,
) -> None:
    await management.close()
