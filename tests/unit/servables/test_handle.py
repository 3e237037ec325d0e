from __future__ import annotations

import asyncio

import pytest

from sigrun.servables.handle import LoadedVersion, Pins, ServableHandle
from sigrun.servables.servable import ServableId
from tests.fakes.lifecycle import let_others_run
from tests.fakes.servables import FakeServable

ID = ServableId("mnist", 1)


def test_a_version_is_pinned_until_the_block_ends() -> None:
    servable = FakeServable()
    version = LoadedVersion(ID, servable)

    with ServableHandle(version) as handle:
        inside = (handle.id, handle.servable, version.pins.count)

    assert inside == (ID, servable, 1)
    assert version.pins.count == 0


def test_a_block_that_fails_gives_its_pin_back() -> None:
    version = LoadedVersion(ID, FakeServable())

    with pytest.raises(ValueError, match="a bug"), ServableHandle(version):
        raise ValueError("a bug")

    assert version.pins.count == 0


@pytest.mark.asyncio
async def test_waiting_for_the_last_handle_is_over_at_once_when_there_is_none() -> None:
    await Pins().wait_until_none()


@pytest.mark.asyncio
async def test_waiting_for_the_last_handle_ends_with_the_last_one_only() -> None:
    version = LoadedVersion(ID, FakeServable())
    first, second = (ServableHandle(version) for _ in range(2))
    waiting = asyncio.create_task(version.pins.wait_until_none())

    with second:
        with first:
            pass
        await let_others_run()
        was_over_before_the_last = waiting.done()
    await waiting

    assert not was_over_before_the_last
