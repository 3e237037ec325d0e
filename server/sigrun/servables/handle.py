"""Pin a version: while a handle is held, the version is not unloaded."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

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


class LoadedVersion:
    """A version between its load and its unload.

    `memo` is for whoever runs requests: what is found out once and holds as long as the version
    is loaded.
    """

    __slots__ = ("id", "memo", "pins", "servable")

    def __init__(self, id: ServableId, servable: Servable) -> None:
        self.id = id
        self.servable = servable
        self.pins = Pins()
        self.memo: Any = None

    def blame(self, error: SigrunError) -> None:
        """Note on `error` that it is about this version."""
        error.servable = (self.id.name, self.id.version)


class ServableHandle:
    """A version, pinned until the `with` block ends. Hold it briefly; release it once.

    What goes wrong inside the block is told which version it went wrong with.
    """

    __slots__ = ("id", "servable", "version")

    def __init__(self, version: LoadedVersion) -> None:
        version.pins.add()
        self.version = version
        self.id = version.id
        self.servable = version.servable

    def __enter__(self) -> ServableHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.version.pins.remove()
        if isinstance(error, SigrunError):
            self.version.blame(error)
