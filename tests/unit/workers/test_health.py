from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

import pytest

from sigrun.workers.health import HEALTH, FollowedHealth, HealthTeller
from sigrun.workers.values import Plain

pytestmark = pytest.mark.asyncio


class FakeReadiness:
    """Says what a test has it say."""

    def __init__(self) -> None:
        self.is_ready = False
        self.is_draining = False
        self.known: dict[str, bool] = {}
        self._listeners: list[Callable[[], None]] = []

    def models(self) -> Mapping[str, bool]:
        return self.known

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def change(self, **known: bool) -> None:
        self.known = known
        self.is_ready = True
        for listener in self._listeners:
            listener()


class Fleet:
    """Workers that settle when a test says so."""

    def __init__(self) -> None:
        self.may_settle = asyncio.Event()
        self.told: list[Plain] = []
        self.heard = asyncio.Event()

    async def settled(self) -> None:
        await self.may_settle.wait()

    def tell(self, name: str, plain: Plain) -> None:
        assert name == HEALTH
        self.told.append(json.loads(json.dumps(plain)))
        self.heard.set()


async def test_the_whole_is_told_when_every_worker_has_come_so_far() -> None:
    readiness, fleet = FakeReadiness(), Fleet()
    readiness.change(m=True)
    telling = asyncio.create_task(HealthTeller(readiness, fleet.settled, fleet.tell).run())
    await asyncio.sleep(0)

    assert fleet.told == []
    fleet.may_settle.set()
    await fleet.heard.wait()
    assert fleet.told == [{"is ready": True, "models": {"m": True}}]
    telling.cancel()


async def test_every_change_is_told_one_that_comes_while_workers_settle_too() -> None:
    readiness, fleet = FakeReadiness(), Fleet()
    telling = asyncio.create_task(HealthTeller(readiness, fleet.settled, fleet.tell).run())
    await asyncio.sleep(0)
    readiness.change(m=True)
    fleet.may_settle.set()

    while len(fleet.told) < 2:
        fleet.heard.clear()
        await fleet.heard.wait()

    assert [told["is ready"] for told in fleet.told] == [False, True]
    telling.cancel()


def followed() -> tuple[FakeReadiness, FollowedHealth, list[bool]]:
    own = FakeReadiness()
    health = FollowedHealth(own)
    heard: list[bool] = []
    health.subscribe(lambda: heard.append(health.is_ready))
    return own, health, heard


async def test_a_worker_is_ready_when_the_whole_is() -> None:
    own, health, heard = followed()

    own.change(m=True)
    assert not health.is_ready
    health.take({"is ready": True, "models": {"m": True}})

    assert health.is_ready
    assert heard == [False, True]


async def test_a_model_serves_where_it_does_everywhere() -> None:
    own, health, _ = followed()
    own.change(early=True, both=True)
    health.take({"is ready": True, "models": {"both": True, "late": True}})

    assert health.models() == {"both": True, "early": False, "late": False}


async def test_a_model_that_leaves_is_known_to_leave_before_the_supervisor_says_so() -> None:
    own, health, heard = followed()
    own.change(m=True)
    health.take({"is ready": True, "models": {"m": True}})

    own.change(m=False)

    assert health.models() == {"m": False}
    assert len(heard) == 3


async def test_a_worker_that_drains_is_not_ready_whatever_the_supervisor_says() -> None:
    own, health, _ = followed()
    own.is_draining = True

    health.take({"is ready": True, "models": {}})

    assert not health.is_ready
    assert health.is_draining
