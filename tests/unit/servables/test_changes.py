"""One model is changed, or loaded again, beside all others."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from sigrun.config.models import AllVersions, ModelConfig, ModelSet
from sigrun.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServableNotFound,
    Unavailable,
    Unknown,
)
from sigrun.servables import models as models_module
from sigrun.servables.models import Edit
from sigrun.servables.policy import ResourcePreservingPolicy
from tests.fakes.lifecycle import Lifecycle, let_others_run, models

pytestmark = pytest.mark.asyncio

NO_GRAPH = InvalidArgument("no graph")


@pytest.fixture
def life(tmp_path: Path) -> Lifecycle:
    return Lifecycle(tmp_path)


def answering(life: Lifecycle, name: str = "mnist") -> int | None:
    try:
        with life.manager.acquire(name) as handle:
            return handle.id.version
    except ServableNotFound:
        return None


def adding(model: ModelConfig) -> Edit:
    return lambda wanted: wanted.with_model(model)


def removing(name: str) -> Edit:
    return lambda wanted: wanted.without(name)


async def start(life: Lifecycle, *, labels: dict[str, int] | None = None) -> ModelSet:
    """Start with version 1 of mnist."""
    life.add_version("mnist", 1)
    started = models(life.model("mnist", AllVersions(), labels=labels))
    await life.models.start(started)
    return started


# Changes


async def test_a_model_is_added_beside_the_others(life: Lifecycle) -> None:
    await start(life)
    life.add_version("iris", 7)

    await life.models.change(adding(life.model("iris")))

    assert (answering(life, "mnist"), answering(life, "iris")) == (1, 7)
    assert life.models.current.names == {"mnist", "iris"}
    assert life.loaders["mnist:1"].loads == 1


async def test_a_model_is_removed_and_the_others_stay(life: Lifecycle) -> None:
    await start(life)
    life.add_version("iris", 7)
    await life.models.change(adding(life.model("iris")))

    await life.models.change(removing("mnist"))

    assert (answering(life, "mnist"), answering(life, "iris")) == (None, 7)
    await life.states.until("mnist:1 END")


async def test_a_model_that_fails_is_not_taken(life: Lifecycle) -> None:
    started = await start(life)
    life.add_version("iris", 7)
    life.errors["iris:7"] = NO_GRAPH

    with pytest.raises(Unknown, match="iris version: 7} due to error: INVALID_ARGUMENT: no graph"):
        await life.models.change(adding(life.model("iris")))

    assert life.models.current == started
    assert answering(life) == 1


async def test_changes_are_made_one_after_the_other_and_none_is_lost(life: Lifecycle) -> None:
    await start(life)
    life.add_version("iris", 7)
    life.add_version("wine", 9)
    life.held.add("iris:7")
    first = asyncio.create_task(life.models.change(adding(life.model("iris"))))
    await life.states.until("iris:7 LOADING")
    second = asyncio.create_task(life.models.change(adding(life.model("wine"))))
    await let_others_run()
    assert answering(life, "wine") is None

    life.loaders["iris:7"].release.set()
    await asyncio.gather(first, second)

    assert life.models.current.names == {"mnist", "iris", "wine"}


async def test_a_change_judges_the_labels_of_its_own_model_alone(life: Lifecycle) -> None:
    path = life.add_version("mnist", 2)
    await start(life, labels={"stable": 2})
    path.rename(life.folder / "away")
    await life.clock.advance(life.options.poll_wait_s)
    await life.states.until("mnist:2 END")
    life.add_version("iris", 7)

    await life.models.change(adding(life.model("iris")))

    assert answering(life, "iris") == 7


async def test_a_label_moves_only_to_what_is_available(life: Lifecycle) -> None:
    life.add_version("mnist", 2)
    started = await start(life, labels={"stable": 1})
    (model,) = started

    await life.models.change(adding(dataclasses.replace(model, version_labels={"stable": 2})))
    assert life.labels.of("mnist") == {"stable": 2}
    with pytest.raises(FailedPrecondition, match="Request to assign label to version 7 of model"):
        await life.models.change(adding(dataclasses.replace(model, version_labels={"stable": 7})))

    assert life.labels.of("mnist") == {"stable": 2}


async def test_a_reload_of_the_set_ends_a_change(life: Lifecycle) -> None:
    started = await start(life)
    life.add_version("iris", 7)
    life.held.add("iris:7")
    change = asyncio.create_task(life.models.change(adding(life.model("iris"))))
    await life.states.until("iris:7 LOADING")

    await life.models.reload(started)

    with pytest.raises(Aborted):
        await change
    assert life.models.current == started


async def test_a_change_is_taken_back_at_its_deadline(life: Lifecycle) -> None:
    started = await start(life)
    life.add_version("iris", 7)
    life.held.add("iris:7")

    with pytest.raises(DeadlineExceeded, match="the ones before are served"):
        await life.models.change(adding(life.model("iris")), deadline=0.0)

    assert life.models.current == started


async def test_what_an_edit_raises_is_told_and_changes_nothing(life: Lifecycle) -> None:
    started = await start(life)

    def edit(_: ModelSet) -> ModelSet:
        raise NotFound("no such model")

    with pytest.raises(NotFound, match="no such model"):
        await life.models.change(edit)

    assert life.models.current == started


async def test_so_many_changes_wait_and_no_more(
    life: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "_MAX_CHANGES", 1)
    await start(life)
    life.add_version("iris", 7)
    life.held.add("iris:7")
    change = asyncio.create_task(life.models.change(adding(life.model("iris"))))
    await life.states.until("iris:7 LOADING")

    with pytest.raises(ResourceExhausted, match="1 changes of the models wait for each other"):
        await life.models.change(removing("mnist"))
    with pytest.raises(ResourceExhausted):
        await life.models.load_again("mnist")

    life.loaders["iris:7"].release.set()
    await change


async def test_nothing_is_changed_before_the_start_and_after_the_end(life: Lifecycle) -> None:
    with pytest.raises(Unavailable, match="The server is starting"):
        await life.models.change(removing("mnist"))
    await start(life)
    await life.models.close()

    with pytest.raises(Unavailable, match="The server is stopping"):
        await life.models.load_again("mnist")


# Loading again


async def test_a_model_is_loaded_again_though_its_files_are_the_same(life: Lifecycle) -> None:
    await start(life)
    before = life.loaders.pop("mnist:1")

    await life.models.load_again("mnist")

    after = life.loaders["mnist:1"]
    assert after is not before
    assert (after.loads, after.unloads) == (1, 0)
    assert answering(life) == 1
    await let_others_run()
    assert before.unloads == 1
    assert life.states.of("mnist:1") == ["START", "LOADING", "AVAILABLE", "AVAILABLE"]


async def test_it_answers_while_it_is_loaded_again(life: Lifecycle) -> None:
    await start(life)
    del life.loaders["mnist:1"]
    life.held.add("mnist:1")
    again = asyncio.create_task(life.models.load_again("mnist"))
    await let_others_run()
    assert not again.done()

    assert answering(life) == 1
    await life.clock.advance(life.options.poll_wait_s * 3)  # looks change nothing about it
    life.loaders["mnist:1"].release.set()
    await again

    assert life.loaders["mnist:1"].loads == 1


async def test_a_version_that_fails_is_served_as_it_was(life: Lifecycle) -> None:
    await start(life)
    before = life.loaders.pop("mnist:1")
    life.errors["mnist:1"] = NO_GRAPH

    with pytest.raises(InvalidArgument) as told:
        await life.models.load_again("mnist")

    assert str(told.value) == (
        "Version 1 of mnist is served as it was, as it could not be loaded again: no graph"
    )
    assert answering(life) == 1
    assert before.unloads == 0
    del life.errors["mnist:1"], life.loaders["mnist:1"]
    await life.models.load_again("mnist")
    assert life.manager.refusals("mnist") == {}


async def test_a_version_that_had_failed_is_tried_again(life: Lifecycle) -> None:
    life.add_version("mnist", 2)
    life.errors["mnist:2"] = NO_GRAPH
    await start(life)
    life.loaders.clear()
    with pytest.raises(InvalidArgument, match="mnist:2 failed to load: no graph"):
        await life.models.load_again("mnist")
    del life.errors["mnist:2"]
    life.loaders.clear()

    await life.models.load_again("mnist")

    assert answering(life) == 2


async def test_where_memory_is_short_it_is_unloaded_first(tmp_path: Path) -> None:
    life = Lifecycle(tmp_path, policy=ResourcePreservingPolicy())
    await start(life)
    before = life.loaders.pop("mnist:1")

    await life.models.load_again("mnist")

    assert before.unloads == 1
    assert answering(life) == 1
    assert life.states.of("mnist:1")[3:] == ["UNLOADING", "END", "START", "LOADING", "AVAILABLE"]


async def test_a_model_that_there_is_not_is_told_with_those_there_are(life: Lifecycle) -> None:
    await start(life)

    with pytest.raises(NotFound, match="there is no model iris, this server has model mnist"):
        await life.models.load_again("iris")


async def test_a_lost_base_path_is_told(life: Lifecycle) -> None:
    await start(life)
    (life.folder / "mnist").rename(life.folder / "away")

    with pytest.raises(InvalidArgument, match="Could not find base path"):
        await life.models.load_again("mnist")

    assert answering(life) == 1


async def test_it_goes_on_after_the_deadline(life: Lifecycle) -> None:
    await start(life)
    del life.loaders["mnist:1"]
    life.held.add("mnist:1")

    with pytest.raises(DeadlineExceeded, match="which goes on"):
        await life.models.load_again("mnist", deadline=0.0)
    await let_others_run()
    life.loaders["mnist:1"].release.set()
    await let_others_run()

    assert answering(life) == 1
    assert life.loaders["mnist:1"].loads == 1


async def test_files_that_changed_long_ago_are_taken_as_they_are_now(
    life: Lifecycle, tmp_path: Path
) -> None:
    await start(life)
    await life.clock.advance(1000.0)  # changes that come later are only told
    (tmp_path / "mnist" / "1" / "saved_model.pb").write_text("another model")
    await life.clock.advance(100.0)
    first = life.loaders["mnist:1"]

    await life.models.load_again("mnist")

    assert life.loaders["mnist:1"] is not first
    assert life.loaders["mnist:1"].revision != first.revision
    finding = life.models.finding("mnist")
    assert finding is not None
    assert finding.changed == {}
