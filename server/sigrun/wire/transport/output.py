"""The answers of one connection on their way: from its core to its socket.

Nothing is taken from the core while the socket is full. What waits there is counted against the
budget of the process, and keeps those waiting who write answers in pieces.
"""

from __future__ import annotations

import asyncio

from sigrun.concurrency.budget import Budget
from sigrun.wire.transport.events import Core
from sigrun.wire.transport.limits import Limits


class Output:
    """Writes what the core has, a portion of `Limits.max_take_bytes` at a time."""

    __slots__ = (
        "_budget",
        "_core",
        "_low_bytes",
        "_transport",
        "_writers",
        "is_full",
        "unsent_bytes",
    )

    def __init__(
        self, core: Core, transport: asyncio.Transport, budget: Budget, limits: Limits
    ) -> None:
        self._core = core
        self._transport = transport
        self._budget = budget
        self._low_bytes = limits.stream_output_low_bytes
        self._writers: dict[int, asyncio.Future[None]] = {}
        self.is_full = False  # the socket is
        self.unsent_bytes = 0  # in the core, as far as the budget knows of them

    @property
    def has_more(self) -> bool:
        """Whether there is something to write that the socket would take."""
        return self._core.has_output and not self.is_full

    def write(self) -> bool:
        """Write one portion, if there is one, and let writers go on who waited for that.

        Return whether the socket would take more of what there is.
        """
        core, has_more = self._core, False
        if not self.is_full and core.has_output:
            self._transport.write(core.take())
            has_more = core.has_output and not self.is_full
        pending_bytes = core.pending_bytes
        if pending_bytes != self.unsent_bytes:
            self._count(pending_bytes)
        if self._writers:
            self._wake_writers()
        return has_more

    async def until_writable(self, stream: int) -> None:
        """Wait until little of an answer waits for the client."""
        self._writers[stream] = writable = asyncio.get_running_loop().create_future()
        try:
            await writable
        finally:
            del self._writers[stream]

    def end(self) -> None:
        """Take note that nobody is there to take anything."""
        self._count(0)

    def _count(self, now_bytes: int) -> None:
        self._budget.held_bytes += now_bytes - self.unsent_bytes
        self.unsent_bytes = now_bytes

    def _wake_writers(self) -> None:
        for stream, writable in self._writers.items():
            if self._core.pending(stream) <= self._low_bytes and not writable.done():
                writable.set_result(None)
