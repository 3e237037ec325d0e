"""Follow a model config file: when its text changes, the new set is tried.

In: a way to read the file, a way to apply a set. What fails is logged once per cause and
tried again at the next poll; the set in force stays. A set that a newer reload has overtaken
is not tried again until the file changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from sigrun.concurrency.daemons import DaemonThreads
from sigrun.config.models import ModelSet
from sigrun.errors import Aborted, Code, SigrunError, code_of

logger = logging.getLogger(__name__)

_ANSWER_WITHIN_S = 10.0


class Apply(Protocol):
    """Serves another set of models."""

    async def __call__(self, wanted: ModelSet, *, takes_over: bool) -> None:
        """Raise a `SigrunError` if it cannot be; see `ServedModels.reload`."""


class ConfigFilePoller:
    """Polls every `poll_wait_s` seconds, 0 or less: only when it is told to.

    `read` may block; it runs in a thread.

    `told` hears of every new outcome: a set was taken over, what the file says was refused, or
    it says again what is served.

    A file that has not been read after `answer_within_s` is waited for at the next poll.
    """

    def __init__(
        self,
        *,
        read: Callable[[], ModelSet],
        apply: Apply,
        applied: ModelSet,
        poll_wait_s: float,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        answer_within_s: float = _ANSWER_WITHIN_S,
        told: Callable[[Code], None] = lambda code: None,
    ) -> None:
        self._read = read
        self._apply = apply
        self._applied = applied
        self._tried = applied
        self._poll_wait_s = poll_wait_s
        self._sleep = sleep
        self._answer_within_s = answer_within_s
        self._told = told
        self._threads = DaemonThreads("model config file")
        self._reading: asyncio.Task[ModelSet] | None = None
        self._last_failure = ""
        self._is_wanted = asyncio.Event()

    def want(self) -> None:
        """Poll soon, whenever the next poll would have been; safe before `run`."""
        self._is_wanted.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            while True:
                await self._pause()
                await self._poll_whatever_comes()
        finally:
            self._threads.close()

    async def _pause(self) -> None:
        """Return when a poll is due or wanted."""
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._is_wanted.wait(), name="config file wanted")
        ]
        if self._poll_wait_s > 0:
            waits.append(asyncio.create_task(self._sleep(self._poll_wait_s), name="config poll"))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._is_wanted.clear()

    async def _poll_whatever_comes(self) -> None:
        try:
            await self.poll()
        except Exception:
            logger.exception("following the model config file failed; will try again")

    async def poll(self) -> None:
        """Read the file once and apply it if it says something new.

        What is wrong with the file, or with what it says, is logged and not raised.
        """
        try:
            wanted = await self._answer()
        except (SigrunError, OSError) as error:
            self._note(f"Failed to read ModelServerConfig file: {error}", code_of(error))
            return
        if wanted == self._applied:
            if self._last_failure:
                self._told(Code.OK)
            self._last_failure = ""
            return
        # Another try of what was refused is nothing new, and must not end somebody's reload.
        is_new, self._tried = wanted != self._tried, wanted
        try:
            await self._apply(wanted, takes_over=is_new)
        except Aborted as error:
            logger.warning("the model config file is not taken over until it changes: %s", error)
            self._applied = wanted
            self._told(error.code)
            return
        except SigrunError as error:
            self._note(f"PollFilesystemAndReloadConfig failed to ReloadConfig: {error}", error.code)
            return
        self._applied = wanted
        self._last_failure = ""
        self._told(Code.OK)
        logger.info("took over the changed model config file")

    async def _answer(self) -> ModelSet:
        if self._reading is None:
            reading = self._threads.run(self._read)
            self._reading = asyncio.create_task(reading, name="read the model config file")
        await asyncio.wait([self._reading], timeout=self._answer_within_s)
        if not self._reading.done():
            raise TimeoutError("its file system does not answer")
        reading_done, self._reading = self._reading, None
        return reading_done.result()

    def _note(self, failure: str, code: Code) -> None:
        if failure != self._last_failure:
            logger.error("%s", failure)
            self._told(code)
        self._last_failure = failure
