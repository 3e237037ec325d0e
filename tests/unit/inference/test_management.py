from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import AllVersions, ModelSet
from sigrun.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable, Unknown
from sigrun.inference.calls import ModelSpec, StatusCall
from sigrun.inference.context import INTERNAL
from sigrun.inference.management import ModelManagement
from sigrun.servables.readiness import Readiness
from sigrun.servables.servable import ServableId
from sigrun.servables.state import State
from tests.fakes.lifecycle import Lifecycle, models

pytestmark = pytest.mark.asyncio


@pytest.fixture
def life(tmp_path: Path) -> Lifecycle:
    return Lifecycle(tmp_path, options=LifecycleOptions(poll_wait_s=30))


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


async def test_status_says_what_is_wrong_with_a_version_that_is_served(life: Lifecycle) -> None:
    await serve_mnist(life)
    readiness = Readiness(life.models, life.monitor)
    troubles = {ServableId("mnist", 10): "4 runs do not end", ServableId("other", 1): "no matter"}
    management = ModelManagement(life.models, life.monitor, readiness, lambda: troubles)

    status = await management.status(StatusCall(spec=ModelSpec(name="mnist"), context=INTERNAL))

    assert {version: state.note for version, state in status.items()} == {
        10: "4 runs do not end",
        2: "",
        1: "",
    }
    assert status[10].state is State.AVAILABLE
    assert await management.troubles() == ["mnist:10: 4 runs do not end", "other:1: no matter"]


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
        (ModelSpec(name="iris"), "Could not find any versions of model iris; there is no"),
        (ModelSpec(name="iris", version=1), "Could not find any versions of model iris; there is"),
        (ModelSpec(name=""), "Could not find any versions of model ; no model is named, this"),
        (
            ModelSpec(name="mnist", version=3),
            "Could not find version 3 of model mnist; mnist has versions 10, 1",
        ),
        (
            ModelSpec(name="mnist", label="nightly"),
            "Unrecognized servable version label: nightly; mnist has label stable",
        ),
        (
            ModelSpec(name="mnist", version=1, label="nightly"),
            "Unrecognized servable version label: nightly; mnist has label stable",
        ),
    ],
)
async def test_there_is_no_status_of_what_was_never_heard_of(
    life: Lifecycle, management: ModelManagement, spec: ModelSpec, text: str
) -> None:
    await serve_mnist(life)

    with pytest.raises(NotFound) as refused:
        await management.status(StatusCall(spec=spec, context=INTERNAL))

    assert str(refused.value).startswith(text)


async def test_the_status_of_a_configured_model_is_unavailable_until_it_is_found(
    life: Lifecycle, management: ModelManagement
) -> None:
    life.models.expect(models(life.model("mnist")))

    with pytest.raises(Unavailable, match=r"^Could not find any versions of model mnist; the base"):
        await management.status(StatusCall(spec=ModelSpec(name="mnist"), context=INTERNAL))


async def test_a_version_that_is_being_written_has_a_status_that_says_so(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)
    life.files_age_s = -3600
    path = life.add_version("mnist", 11)
    await life.clock.advance(30)

    status = await management.status(StatusCall(spec=ModelSpec(name="mnist"), context=INTERNAL))

    assert list(status) == [11, 10, 2, 1]
    assert status[11].state is State.START
    assert status[11].note == f"version 11 in {path} is being written, last saved_model.pb"


async def test_a_version_that_was_overwritten_has_a_status_that_says_so(
    life: Lifecycle, management: ModelManagement
) -> None:
    await serve_mnist(life)
    await life.clock.advance(660)
    (life.folder / "mnist" / "10" / "saved_model.pb").write_text("another model")
    await life.clock.advance(60)

    status = await management.status(StatusCall(spec=ModelSpec(name="mnist"), context=INTERNAL))

    assert status[10].state is State.AVAILABLE
    assert status[10].note == "saved_model.pb has changed since this version was loaded"


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


async def test_a_reload_ends_with_its_caller(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    started = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    asking = asyncio.create_task(management.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert life.models.current == started
    assert "a reload was taken back, as its caller has left" in caplog.text
    await asyncio.wait_for(management.reload(models()), 5)  # nobody has to wait for it


async def test_a_reload_ends_at_its_deadline(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    started = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")

    with pytest.raises(DeadlineExceeded, match="The deadline passed before the new models"):
        await management.reload(models(life.model("iris")), time.monotonic() + 0.05)

    assert life.models.current == started
    assert "a reload was refused: DEADLINE_EXCEEDED: The deadline passed before" in caplog.text


async def test_closing_gives_up_a_reload_that_is_under_way(
    life: Lifecycle, management: ModelManagement, caplog: pytest.LogCaptureFixture
) -> None:
    started = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    asking = asyncio.create_task(management.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    await management.close()
    with pytest.raises(Unavailable, match="the server is stopping"):
        await asking

    assert life.models.current == started
    assert "a reload was refused: UNAVAILABLE" in caplog.text


async def test_closing_is_over_at_once_when_nothing_is_under_way(
    management: ModelManagement,
) -> None:
    await management.close()
