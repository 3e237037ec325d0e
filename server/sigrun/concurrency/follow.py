"""Follow what a file says while the server runs: certificates, tokens.

In: a way to read it, a way to put what was read in force. Out: `apply`, called for what is new,
once it was read twice: a file that is written in place is empty, or half there, for a moment. What
cannot be read or put in force is logged once for each cause, and what was before stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sigrun.concurrency.daemons import DaemonThreads
from sigrun.errors import SigrunError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_WAIT_S = 1.0
_SETTLE_S = 0.2
_ANSWER_WITHIN_S = 10.0


class Followed(Generic[T]):
    """Looks at one file every `poll_wait_s` seconds; `what` names it in the log.

    What it says is compared, and not the times of the file: a link that is set to another file, as
    Kubernetes does, is a change like any other.

    `read` may block; it runs in a thread. A file that has not been read after `answer_within_s`
    is waited for at the next look.
    """

    def __init__(
        self,
        what: str,
        *,
        read: Callable[[], T],
        apply: Callable[[T], Awaitable[None]],
        applied: T,
        poll_wait_s: float = _POLL_WAIT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> None:
        self.what = what
        self._read = read
        self._apply = apply
        self._applied = applied
        self._poll_wait_s = poll_wait_s
        self._sleep = sleep
        self._answer_within_s = answer_within_s
        self._threads = DaemonThreads(what)
        self._looking = asyncio.Lock()
        self._reading: asyncio.Task[T] | None = None
        self._last_failure = ""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                await self._sleep(self._poll_wait_s)
                try:
                    await self.look()
                except Exception:
                    logger.exception("following %s failed; will try again", self.what)
        finally:
            self.close()

    async def look(self) -> None:
        """Read the file, and put in force what is new in it and stays so for a moment."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        try:
            found = await self._answer()
            if found != self._applied:
                await self._sleep(_SETTLE_S)
                if await self._answer() != found:
                    return  # somebody writes it: the next look finds it whole
                await self._apply(found)
                self._applied = found
                logger.info("took over the changed %s", self.what)
        except (SigrunError, OSError) as error:
            self._note(f"the {self.what} as before stay in force: {error}")
        else:
            self._last_failure = ""

    def _note(self, failure: str) -> None:
        if failure != self._last_failure:
            logger.error("%s", failure)
        self._last_failure = failure

    def close(self) -> None:
        """Give up a look that is under way; `run` does so at its end."""
        if self._reading is not None:
            self._reading.cancel()
        self._threads.close()

    async def _answer(self) -> T:
        if self._reading is None:
            self._reading = asyncio.create_task(self._threads.run(self._read), name=self.what)
        await asyncio.wait([self._reading], timeout=self._answer_within_s)
        if not self._reading.done():
            raise TimeoutError("its file system does not answer")
        done, self._reading = self._reading, None
        return done.result()
