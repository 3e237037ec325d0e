"""Give up on a request whose client is slow to send it, or has left.

Most requests are over before this has begun: all they cost is a timer that never fires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sigrun.errors import SigrunError
from sigrun.wire.http.messages import ClientGone, RequestTooSlow

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# By then a quick request is over, and to look after one costs as much as to answer it.
_FIRST_LOOK_S = 0.02
# A body that goes on coming at this rate is waited for as long as it takes.
_MIN_BYTES_PER_S = 64 * 1024


class Watch:
    """Watches one request, for the task that answers it, until `stop` is called.

    The task is cancelled when its body takes longer than `body_timeout_s`, and a second more
    for every 64 KiB of it; or when, the body being there, the client leaves. `reason` is
    the error then, else None.
    """

    def __init__(self, receive: Receive, body_timeout_s: float) -> None:
        self._receive = receive
        self._body_timeout_s = body_timeout_s
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._started_at = self._loop.time()
        self._is_body_whole = False
        self._leaving: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(_FIRST_LOOK_S, self._look)
        self.received_bytes = 0
        self.reason: SigrunError | None = None

    def body_is_whole(self) -> None:
        """Say that all of the body is there. From here on only `receive`'s end is waited for."""
        self._is_body_whole = True
        if self._timer.when() > self._loop.time() + _FIRST_LOOK_S:
            self._timer.cancel()
            self._timer = self._loop.call_later(_FIRST_LOOK_S, self._look)

    def stop(self) -> None:
        """Watch no more: the answer is there."""
        self._timer.cancel()
        if self._leaving is not None:
            self._leaving.cancel()

    def _look(self) -> None:
        if self._is_body_whole:
            self._leaving = self._loop.create_task(self._wait_until_gone(), name="client leaving")
            return
        grace_s = self._body_timeout_s + self.received_bytes / _MIN_BYTES_PER_S
        if self._loop.time() >= self._started_at + grace_s:
            self._give_up(
                RequestTooSlow(
                    f"The body did not come within {grace_s:.3g} s: "
                    f"{self.received_bytes} bytes of it are there"
                )
            )
        else:
            self._timer = self._loop.call_at(self._started_at + grace_s, self._look)

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._give_up(ClientGone("The client has left"))

    def _give_up(self, reason: SigrunError) -> None:
        self.reason = reason
        if self._task is not None:
            self._task.cancel()
