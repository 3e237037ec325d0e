from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sigrun.config.models import AllVersions, ModelConfig
from sigrun.errors import DataLoss, InvalidArgument, NotFound, SigrunError, Unavailable
from tests.fakes.lifecycle import Lifecycle, let_others_run, models

pytestmark = pytest.mark.asyncio

LATEST = "Servable not found for request: Latest(mnist)"


@pytest.fixture
def life(tmp_path: Path) -> Lifecycle:
    return Lifecycle(tmp_path)


async def start(life: Lifecycle, *others: ModelConfig) -> None:
    """Start with versions 1 and 2 of mnist, labelled stable and canary, and these."""
    for version in (1, 2):
        life.add_version("mnist", version)
    mnist = life.model("mnist", AllVersions(), labels={"stable": 1, "canary": 2})
    await life.models.start(models(mnist, *others))


def told(error: SigrunError) -> tuple[type[SigrunError], str]:
    return type(error), str(error)


# Models


async def test_an_unknown_model_is_answered_with_those_that_there_are(life: Lifecycle) -> None:
    await start(life)

    assert told(life.models.absence.of_servable("iris", None)) == (
        NotFound,
        (
            "Servable not found for request: Latest(iris); there is no model iris, "
            "this server has model mnist"
        ),
    )


async def test_a_server_without_models_says_so(life: Lifecycle) -> None:
    await life.models.start(models())

    assert str(life.models.absence.of_servable("iris", 3)) == (
        "Servable not found for request: Specific(iris, 3); there is no model iris, "
        "this server has no models"
    )


async def test_of_many_models_some_are_named(life: Lifecycle) -> None:
    life.models.expect(models(*(life.model(f"m{number:02}") for number in range(12))))

    assert str(life.models.absence.of_servable("iris", None)).endswith(
        "this server has models m00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 more"
    )


async def test_a_configured_model_is_on_its_way_before_anything_was_looked_at(
    life: Lifecycle,
) -> None:
    life.models.expect(models(life.model("mnist")))

    assert told(life.models.absence.of_servable("mnist", None)) == (
        Unavailable,
        f"{LATEST}; the base path of mnist is being looked at",
    )


async def test_a_model_that_loads_is_on_its_way(life: Lifecycle) -> None:
    life.add_version("mnist", 3)
    life.held.add("mnist:3")
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))
    await life.states.until("mnist:3 LOADING")

    assert told(life.models.absence.of_servable("mnist", None)) == (
        Unavailable,
        f"{LATEST}; version 3 is loading",
    )
    life.loaders["mnist:3"].release.set()
    await starting


async def test_a_model_that_is_being_written_is_on_its_way(life: Lifecycle) -> None:
    life.files_age_s = -3600
    path = life.add_version("mnist", 3)
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))
    await let_others_run()

    assert told(life.models.absence.of_servable("mnist", None)) == (
        Unavailable,
        f"{LATEST}; version 3 in {path} is being written, last saved_model.pb",
    )
    starting.cancel()


async def test_what_the_start_waits_for_is_on_its_way(life: Lifecycle) -> None:
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))
    await let_others_run()

    kind, text = told(life.models.absence.of_servable("mnist", None))

    assert kind is Unavailable
    assert text.startswith(f"{LATEST}; it is waited for: Could not find base path")
    starting.cancel()


async def test_a_model_without_a_base_path_is_not_there(life: Lifecycle) -> None:
    await start(life, life.model("iris"))

    kind, text = told(life.models.absence.of_servable("iris", None))

    assert kind is NotFound
    assert f"; Could not find base path {life.folder}/iris for servable iris" in text


async def test_a_model_that_failed_to_load_says_why(life: Lifecycle) -> None:
    life.add_version("iris", 3)
    life.errors["iris:3"] = DataLoss("the file is cut short")
    await start(life, life.model("iris"))

    assert told(life.models.absence.of_servable("iris", None)) == (
        NotFound,
        (
            "Servable not found for request: Latest(iris); version 3 failed to load: DATA_LOSS: "
            "the file is cut short"
        ),
    )


# Versions


async def test_an_unknown_version_is_answered_with_those_that_there_are(life: Lifecycle) -> None:
    await start(life)

    assert told(life.models.absence.of_servable("mnist", 7)) == (
        NotFound,
        "Servable not found for request: Specific(mnist, 7); mnist has versions 2, 1",
    )


async def test_a_version_that_loads_is_on_its_way(life: Lifecycle) -> None:
    await start(life)
    life.held.add("mnist:7")
    life.add_version("mnist", 7)
    await life.clock.advance(1.0)

    assert told(life.models.absence.of_servable("mnist", 7)) == (
        Unavailable,
        "Servable not found for request: Specific(mnist, 7); version 7 is loading",
    )


async def test_a_version_that_failed_says_why_and_what_there_is(life: Lifecycle) -> None:
    await start(life)
    life.errors["mnist:7"] = DataLoss("the file is cut short")
    life.add_version("mnist", 7)
    await life.clock.advance(1.0)

    assert told(life.models.absence.of_servable("mnist", 7)) == (
        NotFound,
        (
            "Servable not found for request: Specific(mnist, 7); version 7 failed to load: "
            "DATA_LOSS: the file is cut short; mnist has versions 2, 1"
        ),
    )


# Labels


async def test_an_unknown_label_is_answered_with_those_that_there_are(life: Lifecycle) -> None:
    await start(life)

    assert told(life.models.absence.of_servable("mnist", None, "nightly")) == (
        InvalidArgument,
        "Unrecognized servable version label: nightly; mnist has labels canary, stable",
    )


async def test_a_label_of_an_unknown_model_is_answered_with_the_models(life: Lifecycle) -> None:
    await start(life)

    assert told(life.models.absence.of_servable("iris", None, "stable")) == (
        InvalidArgument,
        (
            "Unrecognized servable version label: stable; there is no model iris, "
            "this server has model mnist"
        ),
    )


async def test_a_label_whose_version_is_not_loaded_is_named_with_it(life: Lifecycle) -> None:
    await start(life)
    (life.folder / "mnist" / "1").rename(life.folder / "gone")
    await life.clock.advance(1.0)

    assert told(life.models.absence.of_servable("mnist", 1, "stable")) == (
        NotFound,
        (
            "Servable not found for request: Specific(mnist, 1); label stable of mnist is "
            "version 1, which is not loaded; mnist has version 2"
        ),
    )


# Status


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        (
            "iris",
            None,
            (
                "Could not find any versions of model iris; there is no model iris, "
                "this server has model mnist"
            ),
        ),
        ("mnist", 7, "Could not find version 7 of model mnist; mnist has versions 2, 1"),
    ],
)
async def test_a_status_that_is_not_there_says_what_is(
    life: Lifecycle, name: str, version: int | None, text: str
) -> None:
    await start(life)

    assert told(life.models.absence.of_status(name, version)) == (NotFound, text)
