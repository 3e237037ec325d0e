"""The health of the whole server, the same in every worker.

In: the supervisor's readiness. Out: what a worker answers to `grpc.health.v1.Health`. The
supervisor tells it when every worker has come to where it is, so that nobody is sent to one that
is still behind. What ends is not waited for: a worker that drains, or has no version of a model
any more, says so at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sigrun.servables.readiness import Health
from sigrun.workers.values import Plain

HEALTH = "health"
"""The name of the entry that tells it."""


class HealthTeller:
    """The supervisor's part: tells every worker how the whole is. `run` it as long as it serves."""

    def __init__(
        self,
        readiness: Health,
        settled: Callable[[], Awaitable[None]],
        tell: Callable[[str, Plain], None],
    ) -> None:
        self._readiness = readiness
        self._settled = settled
        self._tell = tell
        self._changed = asyncio.Event()
        readiness.subscribe(self._changed.set)

    async def run(self) -> None:
        """Tell after every change, until cancelled."""
        while True:
            self._changed.clear()
            await self.tell()
            await self._changed.wait()

    async def tell(self) -> None:
        """Tell what is the case now, once it is so in every worker."""
        plain = {"is ready": self._readiness.is_ready, "models": dict(self._readiness.models())}
        await self._settled()
        self._tell(HEALTH, plain)


class FollowedHealth:
    """A worker's part: what the supervisor says, and what is known here sooner."""

    def __init__(self, own: Health) -> None:
        self._own = own
        self._is_ready = False
        self._models: Mapping[str, bool] = {}
        self._listeners: list[Callable[[], None]] = []
        own.subscribe(self._notify)

    def take(self, plain: Plain) -> None:
        """Make known what the supervisor says."""
        self._is_ready = plain["is ready"]
        self._models = plain["models"]
        self._notify()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change that may matter."""
        self._listeners.append(listener)

    @property
    def is_ready(self) -> bool:
        """Whether traffic should be sent to the whole server."""
        return self._is_ready and not self.is_draining

    @property
    def is_draining(self) -> bool:
        """Whether this worker is stopping."""
        return self._own.is_draining

    def models(self) -> Mapping[str, bool]:
        """Return for every model known whether a version of it is available in every worker."""
        own = self._own.models()
        names = sorted({*self._models, *own})
        return {name: self._models.get(name, False) and own.get(name, False) for name in names}

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
