from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import AllVersions, ModelConfig, SpecificVersions
from sigrun.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServableNotFound,
    Unavailable,
    Unknown,
)
from sigrun.servables.policy import ResourcePreservingPolicy
from tests.fakes.lifecycle import Lifecycle, advance_clock, let_others_run, models

pytestmark = pytest.mark.asyncio

NO_GRAPH = InvalidArgument("no graph")
LABELS_ANYWHERE = LifecycleOptions(allow_labels_for_unavailable=True)


@pytest.fixture
def life(tmp_path: Path) -> Lifecycle:
    return Lifecycle(tmp_path)


def answering(life: Lifecycle, name: str = "mnist") -> int | None:
    """Return the version that answers a request without one, None if none does."""
    try:
        with life.manager.acquire(name) as handle:
            return handle.id.version
    except ServableNotFound:
        return None


# Start


async def test_start_returns_when_every_model_is_available(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    life.add_version("iris", 2)
    wanted = models(life.model("mnist"), life.model("iris"))

    await life.models.start(wanted)

    assert (answering(life, "mnist"), answering(life, "iris")) == (1, 2)
    assert life.models.current == wanted


async def test_start_waits_for_loads(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    life.held.add("mnist:1")
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))

    await life.states.until("mnist:1 LOADING")
    await let_others_run()
    was_over_before_the_load = starting.done()
    life.loaders["mnist:1"].release.set()
    await starting

    assert not was_over_before_the_load


async def test_a_server_without_models_starts(life: Lifecycle) -> None:
    await life.models.start(models())

    assert life.models.current.names == set()


async def test_one_model_that_fails_leaves_the_others_alone(
    life: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    life.add_version("mnist", 1)
    life.add_version("iris", 2)
    life.errors["iris:2"] = NO_GRAPH

    await life.models.start(models(life.model("mnist"), life.model("iris", labels={"stable": 2})))

    assert answering(life, "mnist") == 1
    assert (
        "1 servable(s) did not become available: "
        "{{name: iris version: 2} due to error: INVALID_ARGUMENT: no graph}, }" in caplog.text
    )


async def test_one_model_without_a_base_path_leaves_the_others_alone(
    life: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    life.add_version("mnist", 1)

    await life.models.start(models(life.model("mnist"), life.model("iris")))

    assert answering(life, "mnist") == 1
    assert (
        "1 servable(s) did not become available: {{name: iris} due to error: "
        f"Could not find base path {life.folder}/iris for servable iris" in caplog.text
    )


async def test_a_model_with_one_version_that_fails_and_one_that_works_is_available(
    life: Lifecycle,
) -> None:
    life.add_version("mnist", 1)
    life.add_version("mnist", 2)
    life.errors["mnist:2"] = NO_GRAPH

    await life.models.start(models(life.model("mnist", AllVersions())))

    assert answering(life) == 1


async def test_start_fails_when_the_only_model_fails(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    life.errors["mnist:1"] = NO_GRAPH

    with pytest.raises(Unknown) as failed:
        await life.models.start(models(life.model("mnist")))

    assert str(failed.value) == (
        "1 servable(s) did not become available: "
        "{{name: mnist version: 1} due to error: INVALID_ARGUMENT: no graph}, }"
    )


async def test_start_fails_when_all_models_fail_and_names_each(life: Lifecycle) -> None:
    for name in ("mnist", "iris"):
        life.add_version(name, 1)
        life.errors[f"{name}:1"] = NO_GRAPH

    with pytest.raises(Unknown) as failed:
        await life.models.start(models(life.model("mnist"), life.model("iris")))

    assert str(failed.value) == (
        "2 servable(s) did not become available: "
        "{{name: iris version: 1} due to error: INVALID_ARGUMENT: no graph}, "
        "{name: mnist version: 1} due to error: INVALID_ARGUMENT: no graph}, }"
    )


async def test_start_waits_for_a_first_version_to_appear(life: Lifecycle) -> None:
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))
    await let_others_run()

    life.add_version("mnist", 1)
    await life.clock.advance(1.0)
    await starting

    assert answering(life) == 1


async def test_start_waits_for_a_first_version_for_a_limited_time(life: Lifecycle) -> None:
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))

    await let_others_run()
    advance_clock(600)
    with pytest.raises(DeadlineExceeded) as failed:
        await starting

    assert str(failed.value).startswith(
        "After 600 s these models were not settled: "
        f"mnist (Could not find base path {life.folder}/mnist"
    )


async def test_start_waits_for_a_version_that_is_being_written(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    life.add_version("iris", 1)
    starting = asyncio.create_task(
        life.models.start(models(life.model("mnist"), life.model("iris")))
    )
    life.files_age_s = -3600
    await let_others_run()
    was_over_before_it_was_written = starting.done()

    await life.clock.advance(2.0)
    await starting

    assert not was_over_before_it_was_written
    assert (answering(life, "mnist"), answering(life, "iris")) == (1, 1)


async def test_one_model_that_is_written_for_ever_leaves_the_others_alone(
    life: Lifecycle,
) -> None:
    life.add_version("mnist", 1)
    starting = asyncio.create_task(
        life.models.start(models(life.model("mnist"), life.model("iris")))
    )
    await let_others_run()

    life.files_age_s = -3600
    path = life.add_version("iris", 1)
    for second in range(35):
        (path / "saved_model.pb").write_text("x" * second)
        await life.clock.advance(1.0)
    await asyncio.wait_for(starting, 5)

    assert (answering(life, "mnist"), answering(life, "iris")) == (1, None)


async def test_one_model_that_loads_for_ever_leaves_the_others_alone(
    life: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    life.add_version("mnist", 1)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    starting = asyncio.create_task(
        life.models.start(models(life.model("mnist"), life.model("iris")))
    )

    await life.states.until("iris:1 LOADING")
    advance_clock(600)
    await starting

    assert (answering(life, "mnist"), answering(life, "iris")) == (1, None)
    assert "After 600 s these models were not settled: iris" in caplog.text


async def test_start_waits_for_a_version_that_a_label_names(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    starting = asyncio.create_task(
        life.models.start(models(life.model("mnist", AllVersions(), labels={"stable": 2})))
    )
    # Version 1 is old and loads at the first look, version 2 has just been written.
    os.utime(life.folder / "mnist" / "1", (0, 0))
    life.files_age_s = -3600
    life.add_version("mnist", 2)
    await life.clock.advance(3.0)
    await starting

    assert life.labels.resolve("mnist", "stable") == 2


async def test_models_are_known_before_they_are_started(life: Lifecycle) -> None:
    wanted = models(life.model("mnist"))

    life.models.expect(wanted)

    assert life.models.configured == wanted
    assert not life.models.has_started


async def test_start_waits_for_loads_for_a_limited_time(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    life.held.add("mnist:1")
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))

    await life.states.until("mnist:1 LOADING")
    advance_clock(600)
    with pytest.raises(DeadlineExceeded) as failed:
        await starting

    assert str(failed.value) == "After 600 s these models were not settled: mnist (still loading)"


async def test_labels_are_in_force_after_start(life: Lifecycle) -> None:
    life.add_version("mnist", 1)

    await life.models.start(models(life.model("mnist", labels={"stable": 1})))

    assert life.labels.resolve("mnist", "stable") == 1


async def test_start_fails_for_a_label_on_a_version_that_is_not_there(life: Lifecycle) -> None:
    life.add_version("mnist", 1)

    with pytest.raises(FailedPrecondition, match="assign label to version 2 of model mnist"):
        await life.models.start(models(life.model("mnist", labels={"stable": 2})))


async def test_where_allowed_start_takes_labels_on_versions_that_are_not_there(
    tmp_path: Path,
) -> None:
    life = Lifecycle(tmp_path, options=LABELS_ANYWHERE)
    life.add_version("mnist", 1)

    await life.models.start(models(life.model("mnist", labels={"stable": 2})))

    assert life.labels.resolve("mnist", "stable") == 2


# Reload


async def serve_mnist(life: Lifecycle) -> ModelConfig:
    """Start with version 1 of mnist, labelled stable; return its configuration."""
    life.add_version("mnist", 1)
    mnist = life.model("mnist", labels={"stable": 1})
    await life.models.start(models(mnist))
    return mnist


async def test_a_reload_returns_when_new_models_are_available(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 2)
    wanted = models(mnist, life.model("iris"))

    await life.models.reload(wanted)

    assert (answering(life, "mnist"), answering(life, "iris")) == (1, 2)
    assert life.models.current == wanted


async def test_a_model_that_is_left_out_is_unloaded(life: Lifecycle) -> None:
    await serve_mnist(life)

    await life.models.reload(models())
    await life.states.until("mnist:1 END")

    assert answering(life) is None


async def test_a_model_that_is_left_out_answers_until_the_new_ones_can(life: Lifecycle) -> None:
    await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")

    reloading = asyncio.create_task(life.models.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")
    await let_others_run()
    meanwhile = answering(life, "mnist")
    life.loaders["iris:1"].release.set()
    await reloading
    await life.states.until("mnist:1 END")

    assert meanwhile == 1
    assert (answering(life, "mnist"), answering(life, "iris")) == (None, 1)


async def test_a_change_of_versions_is_taken_over(life: Lifecycle) -> None:
    await serve_mnist(life)
    life.add_version("mnist", 2)

    await life.models.reload(models(life.model("mnist", SpecificVersions(frozenset({2})))))
    await life.states.until("mnist:1 END")

    assert answering(life) == 2


async def test_a_change_of_base_path_keeps_the_old_version_until_the_new_one_can_answer(
    life: Lifecycle,
) -> None:
    await serve_mnist(life)
    life.add_version("elsewhere", 2)
    life.held.add("mnist:2")

    await life.models.reload(
        models(ModelConfig(name="mnist", base_path=str(life.folder / "elsewhere")))
    )
    await life.states.until("mnist:2 LOADING")
    meanwhile = answering(life)
    life.loaders["mnist:2"].release.set()
    await life.states.until("mnist:1 END")

    assert (meanwhile, answering(life)) == (1, 2)


async def test_labels_move_only_when_their_version_can_answer(life: Lifecycle) -> None:
    await serve_mnist(life)
    life.add_version("mnist", 2)
    life.held.add("mnist:2")
    wanted = models(life.model("mnist", AllVersions(), labels={"stable": 2, "old": 1}))

    reloading = asyncio.create_task(life.models.reload(wanted))
    await life.states.until("mnist:2 LOADING")
    await let_others_run()
    meanwhile = dict(life.labels.of("mnist"))
    life.loaders["mnist:2"].release.set()
    await reloading

    assert meanwhile == {"stable": 1}
    assert life.labels.of("mnist") == {"stable": 2, "old": 1}


async def test_a_labels_old_version_answers_until_the_label_has_moved(life: Lifecycle) -> None:
    """The old version is no longer aspired, and the new one available, before labels move."""
    await serve_mnist(life)
    life.add_version("mnist", 2)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    wanted = models(life.model("mnist", labels={"stable": 2}), life.model("iris"))

    reloading = asyncio.create_task(life.models.reload(wanted))
    await life.states.until("mnist:2 AVAILABLE")
    await life.states.until("iris:1 LOADING")
    await let_others_run()
    with life.manager.acquire("mnist", life.labels.resolve("mnist", "stable")) as handle:
        meanwhile = handle.id.version
    life.loaders["iris:1"].release.set()
    await reloading
    await life.states.until("mnist:1 END")

    assert meanwhile == 1
    assert life.labels.resolve("mnist", "stable") == 2


async def test_labels_that_are_left_out_are_gone(life: Lifecycle) -> None:
    await serve_mnist(life)

    await life.models.reload(models(life.model("mnist")))

    assert life.labels.of("mnist") == {}


async def test_a_newer_reload_takes_the_place_of_one_that_is_under_way(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.add_version("zebra", 1)
    life.held.add("iris:1")

    first = asyncio.create_task(life.models.reload(models(mnist, life.model("iris"))))
    await life.states.until("iris:1 LOADING")
    await asyncio.wait_for(life.models.reload(models(mnist, life.model("zebra"))), 5)

    with pytest.raises(Aborted, match="a newer one has come"):
        await first
    assert life.models.current.names == {"mnist", "zebra"}


async def test_the_last_of_many_reloads_is_in_force(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    life.add_version("zebra", 1)

    reloads = [
        asyncio.create_task(life.models.reload(models(mnist, life.model(name))))
        for name in ("iris", "iris", "iris", "zebra")
    ]
    outcomes = await asyncio.gather(*reloads, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Aborted, Aborted, Aborted, type(None)]
    assert life.models.current.names == {"mnist", "zebra"}


async def test_a_reload_that_does_not_take_over_waits_for_the_one_under_way(
    life: Lifecycle,
) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")

    first = asyncio.create_task(life.models.reload(models(mnist, life.model("iris"))))
    await life.states.until("iris:1 LOADING")
    second = asyncio.create_task(life.models.reload(models(mnist), takes_over=False))
    await let_others_run()
    meanwhile = second.done()
    life.loaders["iris:1"].release.set()
    await first
    await second

    assert not meanwhile
    assert life.models.current == models(mnist)


async def test_a_reload_during_the_start_is_refused(life: Lifecycle) -> None:
    life.add_version("mnist", 1)
    life.held.add("mnist:1")
    starting = asyncio.create_task(life.models.start(models(life.model("mnist"))))
    await life.states.until("mnist:1 LOADING")

    with pytest.raises(Unavailable, match="The server is starting"):
        await life.models.reload(models())

    life.loaders["mnist:1"].release.set()
    await starting
    assert answering(life) == 1


async def test_a_reload_does_not_wait_for_versions_that_it_does_not_need(
    life: Lifecycle,
) -> None:
    """Version 2 of the labelled model is written for ever; the label names version 1."""
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.files_age_s = -3600
    life.add_version("mnist", 2)
    await life.clock.advance(1.0)
    life.files_age_s = 3600

    await asyncio.wait_for(life.models.reload(models(mnist, life.model("iris"))), 5)

    assert answering(life, "iris") == 1


async def test_a_reload_does_not_wait_for_more_versions_of_a_new_model_than_are_there(
    life: Lifecycle,
) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    dangling = life.folder / "iris" / "2"
    dangling.symlink_to(life.folder / "nowhere")

    await asyncio.wait_for(life.models.reload(models(mnist, life.model("iris", AllVersions()))), 5)

    assert answering(life, "iris") == 1


async def test_a_reload_waits_for_a_version_that_a_label_names(life: Lifecycle) -> None:
    await serve_mnist(life)
    life.files_age_s = -3600
    path = life.add_version("mnist", 2)
    wanted = models(life.model("mnist", AllVersions(), labels={"stable": 2}))

    reloading = asyncio.create_task(life.models.reload(wanted))
    await let_others_run()
    meanwhile = reloading.done()
    await life.clock.advance(2.0)
    await reloading

    assert not meanwhile
    assert path.name == str(life.labels.resolve("mnist", "stable"))


async def test_a_version_that_a_label_names_outlives_newer_ones(life: Lifecycle) -> None:
    await serve_mnist(life)

    life.add_version("mnist", 2)
    await life.clock.advance(1.0)

    assert answering(life) == 2
    with life.manager.acquire("mnist", life.labels.resolve("mnist", "stable")) as handle:
        assert handle.id.version == 1


async def test_a_label_whose_version_is_lost_is_warned_of(
    life: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    await serve_mnist(life)
    life.add_version("mnist", 2)
    await life.clock.advance(1.0)

    (life.folder / "mnist" / "1").rename(life.folder / "gone")
    await life.clock.advance(1.0)

    assert "label stable of servable mnist is version 1, which is being unloaded" in caplog.text


async def test_a_label_that_moves_is_not_warned_of(
    life: Lifecycle, caplog: pytest.LogCaptureFixture
) -> None:
    await serve_mnist(life)
    life.add_version("mnist", 2)

    await life.models.reload(models(life.model("mnist", labels={"stable": 2})))
    await life.states.until("mnist:1 END")
    await life.models.reload(models())
    await life.states.until("mnist:2 END")

    assert caplog.text == ""


async def test_a_new_base_path_with_the_same_version_is_taken_over(life: Lifecycle) -> None:
    await serve_mnist(life)
    before = life.loaders["mnist:1"].servable
    life.add_version("elsewhere", 1)

    await life.models.reload(
        models(ModelConfig(name="mnist", base_path=str(life.folder / "elsewhere")))
    )
    await let_others_run()

    with life.manager.acquire("mnist") as handle:
        assert handle.servable is not before
        assert handle.servable is life.loaders["mnist:1"].servable


async def test_a_reload_waits_until_a_new_model_has_been_written(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.files_age_s = -3600
    life.add_version("iris", 1)

    reloading = asyncio.create_task(life.models.reload(models(mnist, life.model("iris"))))
    await life.clock.advance(2.0)
    await reloading

    assert answering(life, "iris") == 1


# Reloads that fail


async def test_a_reload_with_a_model_that_fails_is_refused(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.errors["iris:1"] = NO_GRAPH

    with pytest.raises(Unknown) as refused:
        await life.models.reload(models(mnist, life.model("iris")))

    assert str(refused.value) == (
        "1 model(s) did not become available: "
        "{{name: iris version: 1} due to error: INVALID_ARGUMENT: no graph}, }"
    )


async def test_a_reload_with_a_model_without_base_path_is_refused(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)

    with pytest.raises(InvalidArgument, match="Could not find base path"):
        await life.models.reload(models(mnist, life.model("iris")))


async def test_a_reload_with_a_model_without_versions_is_refused(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    (life.folder / "iris").mkdir()

    with pytest.raises(NotFound, match="No versions of servable iris found under base path"):
        await life.models.reload(models(mnist, life.model("iris")))


async def test_a_reload_with_a_mistyped_base_path_for_a_known_model_changes_nothing(
    life: Lifecycle,
) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    old = models(mnist, life.model("iris"))
    await life.models.reload(old)

    with pytest.raises(InvalidArgument, match=f"Could not find base path {life.folder}/mnits"):
        await life.models.reload(
            models(ModelConfig(name="mnist", base_path=str(life.folder / "mnits")))
        )
    await let_others_run()

    assert life.models.current == old
    assert (answering(life, "mnist"), answering(life, "iris")) == (1, 1)
    assert life.states.of("iris:1") == ["START", "LOADING", "AVAILABLE"]


async def test_a_reload_with_an_empty_base_path_for_a_known_model_is_refused(
    life: Lifecycle,
) -> None:
    await serve_mnist(life)
    (life.folder / "empty").mkdir()

    with pytest.raises(NotFound, match="No versions of servable mnist found under base path"):
        await life.models.reload(
            models(ModelConfig(name="mnist", base_path=str(life.folder / "empty")))
        )

    assert answering(life) == 1


async def test_a_reload_that_leaves_a_known_model_without_versions_is_refused(
    life: Lifecycle,
) -> None:
    await serve_mnist(life)

    with pytest.raises(NotFound, match="None of the versions in"):
        await life.models.reload(models(life.model("mnist", SpecificVersions(frozenset({7})))))

    assert answering(life) == 1


async def test_a_known_model_whose_base_path_is_lost_keeps_no_reload_from_being_taken_over(
    life: Lifecycle,
) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    (life.folder / "mnist").rename(life.folder / "lost")
    await life.clock.advance(1.0)

    await life.models.reload(models(mnist, life.model("iris")))

    assert (answering(life, "mnist"), answering(life, "iris")) == (1, 1)


async def test_a_reload_that_waits_in_vain_names_the_folder_and_the_reason(
    life: Lifecycle,
) -> None:
    mnist = await serve_mnist(life)
    life.files_age_s = -3600
    path = life.add_version("iris", 1)

    reloading = asyncio.create_task(life.models.reload(models(mnist, life.model("iris"))))
    await let_others_run()
    advance_clock(600)
    with pytest.raises(DeadlineExceeded) as refused:
        await reloading

    assert f"version 1 in {path} is being written, last saved_model.pb" in str(refused.value)


async def test_a_reload_with_a_label_on_a_version_that_is_not_there_is_refused(
    life: Lifecycle,
) -> None:
    await serve_mnist(life)

    with pytest.raises(FailedPrecondition) as refused:
        await life.models.reload(models(life.model("mnist", labels={"stable": 2})))

    assert str(refused.value) == (
        "Request to assign label to version 2 of model mnist, "
        "which is not currently available for inference"
    )


async def test_even_where_allowed_a_label_is_not_moved_to_a_version_that_is_not_there(
    tmp_path: Path,
) -> None:
    life = Lifecycle(tmp_path, options=LABELS_ANYWHERE)
    await serve_mnist(life)

    with pytest.raises(FailedPrecondition, match="assign label to version 2 of model mnist"):
        await life.models.reload(models(life.model("mnist", labels={"stable": 2})))


async def test_a_reload_that_takes_too_long_is_refused(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")

    reloading = asyncio.create_task(life.models.reload(models(mnist, life.model("iris"))))

    await life.states.until("iris:1 LOADING")
    advance_clock(600)
    with pytest.raises(DeadlineExceeded) as refused:
        await reloading

    assert str(refused.value) == "After 600 s these models were not settled: iris (still loading)"


async def test_after_a_refused_reload_the_old_set_and_its_labels_are_in_force(
    life: Lifecycle,
) -> None:
    """The new set drops mnist, adds a version of zebra, and a model that is broken."""
    life.add_version("zebra", 1)
    life.add_version("mnist", 1)
    first = SpecificVersions(frozenset({1}))
    old = models(life.model("mnist", labels={"stable": 1}), life.model("zebra", first))
    await life.models.start(old)
    life.add_version("zebra", 2)
    life.add_version("iris", 1)
    life.errors["iris:1"] = NO_GRAPH
    policy = SpecificVersions(frozenset({1, 2}))

    with pytest.raises(Unknown):
        await life.models.reload(models(life.model("zebra", policy), life.model("iris")))
    await let_others_run()

    assert life.models.current == old
    assert life.labels.of("mnist") == {"stable": 1}
    assert life.states.of("mnist:1") == ["START", "LOADING", "AVAILABLE"]
    assert life.states.of("zebra:1") == ["START", "LOADING", "AVAILABLE"]
    assert life.states.of("zebra:2")[-1] == "END"


async def test_what_a_refused_reload_has_loaded_is_unloaded(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)

    with pytest.raises(InvalidArgument):
        await life.models.reload(models(mnist, life.model("iris"), life.model("missing")))
    await life.states.until("iris:1 END")

    assert answering(life, "iris") is None


async def test_a_refused_reload_costs_no_version_though_its_files_were_touched(
    life: Lifecycle,
) -> None:
    await serve_mnist(life)
    life.files_age_s = -3600
    (life.folder / "mnist" / "1" / "notes.txt").write_text("who made it")

    with pytest.raises(InvalidArgument):
        await life.models.reload(models(life.model("missing")))
    await let_others_run()

    assert life.states.of("mnist:1") == ["START", "LOADING", "AVAILABLE"]


async def test_a_refused_reload_costs_no_version_though_its_base_path_has_disappeared(
    life: Lifecycle,
) -> None:
    await serve_mnist(life)
    (life.folder / "mnist").rename(life.folder / "away")

    with pytest.raises(InvalidArgument):
        await life.models.reload(models(life.model("missing")))
    await let_others_run()

    assert life.states.of("mnist:1") == ["START", "LOADING", "AVAILABLE"]


async def test_a_reload_that_is_given_up_leaves_the_old_set_in_force(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    reloading = asyncio.create_task(life.models.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    reloading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reloading
    life.loaders["iris:1"].release.set()
    await life.states.until("iris:1 END")

    assert life.models.current == models(mnist)
    assert (answering(life, "mnist"), answering(life, "iris")) == (1, None)


async def test_a_set_can_be_reloaded_after_one_that_was_refused(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    path = life.add_version("iris", 1)
    life.errors["iris:1"] = NO_GRAPH
    with pytest.raises(Unknown):
        await life.models.reload(models(mnist, life.model("iris")))

    del life.errors["iris:1"]
    (path / "saved_model.pb").write_text("a better model")
    await life.models.reload(models(mnist, life.model("iris")))

    assert answering(life, "iris") == 1


async def test_where_memory_is_short_a_refused_reload_brings_the_old_version_back(
    tmp_path: Path,
) -> None:
    life = Lifecycle(tmp_path, policy=ResourcePreservingPolicy())
    await serve_mnist(life)

    with pytest.raises(InvalidArgument):
        await life.models.reload(models(life.model("missing")))
    await life.manager.wait_until_settled(["mnist"])

    assert answering(life) == 1


async def test_closing_gives_up_a_reload(life: Lifecycle) -> None:
    mnist = await serve_mnist(life)
    life.add_version("iris", 1)
    life.held.add("iris:1")
    reloading = asyncio.create_task(life.models.reload(models(life.model("iris"))))
    await life.states.until("iris:1 LOADING")

    await life.models.close()

    with pytest.raises(Unavailable, match="the server is stopping"):
        await reloading
    with pytest.raises(Unavailable, match="The server is stopping"):
        await life.models.reload(models())
    assert life.models.current == models(mnist)
