"""Listeners on free ports of the loopback interface, on either kind of event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio
import uvloop

from tests.wire.transport.desk import Desk


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """Return a maker of listeners; they are stopped at the end."""
    desk = Desk()
    yield desk
    await desk.close()
