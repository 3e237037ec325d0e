"""Follow a model config file: when its text changes, the new set is tried.

In: a way to read the file, a way to apply a set. What fails is logged once per cause and
tried again at the next poll; the set in force stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sigrun.config.models import ModelSet
from sigrun.errors import SigrunError

logger = logging.getLogger(__name__)


class ConfigFilePoller:
    """Polls every `poll_wait_s` seconds. `read` may block; it runs in a thread."""

    def __init__(
        self,
        *,
        read: Callable[[], ModelSet],
        apply: Callable[[ModelSet], Awaitable[None]],
        applied: ModelSet,
        poll_wait_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._apply = apply
        self._applied = applied
        self._poll_wait_s = poll_wait_s
        self._sleep = sleep
        self._last_failure = ""

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self._sleep(self._poll_wait_s)
            try:
                await self.poll()
            except Exception:
                logger.exception("following the model config file failed; will try again")

    async def poll(self) -> None:
        """Read the file once and apply it if it says something new.

        What is wrong with the file, or with what it says, is logged and not raised.
        """
        try:
            wanted = await asyncio.to_thread(self._read)
        except (SigrunError, OSError) as error:
            self._note(f"Failed to read ModelServerConfig file: {error}")
            return
        if wanted == self._applied:
            self._last_failure = ""
            return
        try:
            await self._apply(wanted)
        except SigrunError as error:
            self._note(f"PollFilesystemAndReloadConfig failed to ReloadConfig: {error}")
            return
        self._applied = wanted
        self._last_failure = ""
        logger.info("took over the changed model config file")

    def _note(self, failure: str) -> None:
        if failure != self._last_failure:
            logger.error("%s", failure)
        self._last_failure = failure
