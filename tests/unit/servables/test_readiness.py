from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.errors import InvalidArgument, Unknown
from sigrun.servables.readiness import Readiness
from tests.fakes.lifecycle import Lifecycle, models

pytestmark = pytest.mark.asyncio


class Rig:
    """A lifecycle and its readiness; `notices` counts the calls of a listener."""

    def __init__(self, folder: Path) -> None:
        self.life = Lifecycle(folder)
        self.readiness = Readiness(self.life.models, self.life.monitor)
        self.life.stream.subscribe(self.readiness.update)
        self.notices = 0
        self.readiness.subscribe(self._note)

    def _note(self) -> None:
        self.notices += 1

    async def start(self, *names: str) -> None:
        """Start with these models; those that have no version yet get none."""
        await self.life.models.start(models(*map(self.life.model, names)))
        self.readiness.started()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_server_is_not_ready_before_it_has_started(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)

    await rig.life.models.start(models(rig.life.model("mnist")))

    assert not rig.readiness.is_ready
    assert rig.readiness.blockers() == ["the initial models are not settled yet"]


async def test_it_is_ready_when_it_has_started_and_every_model_is_available(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)
    rig.life.add_version("iris", 1)

    await rig.start("mnist", "iris")

    assert rig.readiness.is_ready
    assert rig.readiness.blockers() == []


async def test_it_is_ready_without_any_model(rig: Rig) -> None:
    await rig.start()

    assert rig.readiness.is_ready


async def test_it_is_not_ready_while_a_model_has_never_been_available(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)

    await rig.start("mnist", "iris", "zebra")

    assert rig.readiness.blockers() == [
        "no version of model iris has become available",
        "no version of model zebra has become available",
    ]


async def test_it_becomes_ready_when_the_last_model_does(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)
    await rig.start("mnist", "iris")

    rig.life.add_version("iris", 1)
    await rig.life.clock.advance(1.0)
    await rig.life.states.until("iris:1 AVAILABLE")

    assert rig.readiness.is_ready


async def test_a_model_that_leaves_later_does_not_make_the_server_unready(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)
    path = rig.life.add_version("iris", 1)
    await rig.start("mnist", "iris")

    path.rename(path.with_name("gone"))
    await rig.life.clock.advance(1.0)
    await rig.life.states.until("iris:1 END")

    assert rig.readiness.is_ready


async def test_it_is_not_ready_when_all_models_have_left(rig: Rig) -> None:
    path = rig.life.add_version("mnist", 1)
    await rig.start("mnist")

    path.rename(path.with_name("gone"))
    await rig.life.clock.advance(1.0)
    await rig.life.states.until("mnist:1 END")

    assert rig.readiness.blockers() == ["no model is available"]


async def test_it_is_never_ready_again_once_it_drains(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)
    await rig.start("mnist")

    rig.readiness.draining()

    assert rig.readiness.is_draining
    assert rig.readiness.blockers() == ["the server is draining"]


async def test_it_says_of_each_model_whether_it_is_available(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)
    rig.life.add_version("zebra", 1)
    rig.life.errors["zebra:1"] = InvalidArgument("no graph")

    await rig.start("mnist", "iris", "zebra")

    assert rig.readiness.models() == {"iris": False, "mnist": True, "zebra": False}


async def test_listeners_are_told_of_states_of_the_start_and_of_the_end(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)

    await rig.life.models.start(models(rig.life.model("mnist")))
    after_loading = rig.notices
    rig.readiness.started()
    after_the_start = rig.notices
    rig.readiness.draining()

    assert after_loading >= 3
    assert (after_the_start, rig.notices) == (after_loading + 1, after_loading + 2)


async def test_listeners_are_told_when_a_reload_takes_a_model_away_that_never_was(
    rig: Rig,
) -> None:
    rig.life.add_version("mnist", 1)
    await rig.start("mnist", "iris")
    heard: list[bool] = []
    rig.readiness.subscribe(lambda: heard.append(rig.readiness.is_ready))

    await rig.life.models.reload(models(rig.life.model("mnist")))

    assert heard[-1:] == [True]


async def test_a_refused_reload_leaves_the_server_as_ready_as_it_was(rig: Rig) -> None:
    rig.life.add_version("mnist", 1)
    rig.life.add_version("iris", 1)
    rig.life.errors["iris:1"] = InvalidArgument("no graph")
    await rig.start("mnist")

    with pytest.raises(Unknown):
        await rig.life.models.reload(models(rig.life.model("iris")))

    assert rig.readiness.is_ready
