"""Load a version from an object store: a copy first, then whatever loads a local folder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from pathlib import Path

from sigrun.concurrency.aside import start_aside
from sigrun.errors import DeadlineExceeded, SigrunError, Unavailable
from sigrun.servables.model_cache import ModelCache
from sigrun.servables.object_store import StoredRevision
from sigrun.servables.servable import Loader, Servable, ServableId

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
_PAUSE_S = 1.0  # before the second one; twice as long before the next
_REPORT_S = 5.0
_MB = 1e6

MakeLocalLoader = Callable[[Path], Loader]


class FetchingLoader:
    """Fetches a version and loads it with the loader that `make_loader` makes of the copy.

    Implements `Loader`. What does not come within `max_fetch_s` is given up; its thread is left
    to itself.
    """

    def __init__(
        self,
        id: ServableId,
        revision: StoredRevision,
        *,
        cache: ModelCache,
        make_loader: MakeLocalLoader,
        max_fetch_s: float,
    ) -> None:
        self._id = id
        self._revision = revision
        self._cache = cache
        self._make_loader = make_loader
        self._max_fetch_s = max_fetch_s
        self._loader: Loader | None = None

    @property
    def id(self) -> ServableId:
        """The servable that this loads."""
        return self._id

    @property
    def revision(self) -> Hashable:
        """What is in the store, as seen when the loader was made."""
        return self._revision

    async def load(self) -> Servable:
        """Fetch and load the version.

        Raises a `SigrunError`: `Unavailable` for a store that fails, `DataLoss` for what comes
        damaged, or what loading the copy raises.
        """
        folder = await self._fetched()
        loader = self._make_loader(folder)
        try:
            servable = await loader.load()
        except BaseException:
            self._cache.give_back(self._revision)
            raise
        self._loader = loader
        return servable

    async def unload(self) -> None:
        """Give back everything that `load` took; the copy is kept while there is room."""
        loader, self._loader = self._loader, None
        if loader is not None:
            try:
                await loader.unload()
            finally:
                self._cache.give_back(self._revision)

    async def _fetched(self) -> Path:
        began = time.monotonic()
        pause_s = _PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                folder = await self._fetch(began)
            except (SigrunError, OSError) as error:
                if attempt == _ATTEMPTS or isinstance(error, DeadlineExceeded):
                    raise _told(error, self._revision.url) from error
                logger.warning("fetching %s failed, will retry: %s", self._revision.url, error)
                await asyncio.sleep(pause_s)
                pause_s *= 2
            else:
                logger.info(
                    "%s is here after %.1f s: %.1f MB in %s",
                    self._revision.url,
                    time.monotonic() - began,
                    self._revision.bytes / _MB,
                    folder,
                )
                return folder
        raise AssertionError("the last attempt returns or raises")

    async def _fetch(self, began: float) -> Path:
        """Return the copy; say every few seconds how much of it there is."""
        future = start_aside(
            lambda: self._cache.take(self._revision), name=f"fetching {self._revision.url}"
        )
        fetch = asyncio.wrap_future(future)
        try:
            while True:
                left_s = self._max_fetch_s - (time.monotonic() - began)
                if left_s <= 0:
                    raise DeadlineExceeded(
                        f"{self._revision.url} was not fetched within {self._max_fetch_s:g} s"
                    )
                done, _ = await asyncio.wait([fetch], timeout=min(_REPORT_S, left_s))
                if done:
                    return fetch.result()
                here = await asyncio.to_thread(self._cache.progress, self._revision)
                total = self._revision.bytes
                logger.info(
                    "fetching %s: %.1f of %.1f MB", self._revision.url, here / _MB, total / _MB
                )
        finally:
            if not fetch.done():  # nobody waits for it any more
                fetch.add_done_callback(_seen)
                future.add_done_callback(self._give_back)

    def _give_back(self, future: Future[Path]) -> None:
        if future.exception() is None:
            self._cache.give_back(self._revision)


def _seen(future: asyncio.Future[Path]) -> None:
    """Let an error be without complaint."""
    if not future.cancelled():
        future.exception()


def _told(error: Exception, url: str) -> SigrunError:
    if isinstance(error, SigrunError):
        return error
    return Unavailable(f"{url} cannot be fetched: {error}")
