"""Pin a version: while a handle is held, the version is not unloaded."""

from __future__ import annotations

import asyncio
from types import TracebackType

from sigrun.errors import SigrunError
from sigrun.servables.servable import Servable, ServableId


class Pins:
    """Counts the handles on one version and tells when the last one is gone."""

    __slots__ = ("_idle", "count")

    def __init__(self) -> None:
        self.count = 0
        self._idle: asyncio.Event | None = None

    def add(self) -> None:
        """Count one more handle."""
        self.count += 1

    def remove(self) -> None:
        """Count one handle less."""
        self.count -= 1
        if self.count == 0 and self._idle is not None:
            self._idle.set()

    async def wait_until_none(self) -> None:
        """Return when no handle is left. No new ones may be handed out by then."""
        if self.count:
            self._idle = asyncio.Event()
            await self._idle.wait()


class ServableHandle:
    """A servable, pinned until the `with` block ends. Hold it briefly; release it once.

    What goes wrong inside the block is told which version it went wrong with.
    """

    __slots__ = ("_pins", "id", "servable")

    def __init__(self, id: ServableId, servable: Servable, pins: Pins) -> None:
        pins.add()
        self.id = id
        self.servable = servable
        self._pins = pins

    def __enter__(self) -> ServableHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pins.remove()
        if error is not None and isinstance(error, SigrunError):
            error.servable = (self.id.name, self.id.version)
