"""Copies of versions from object stores: whole, checked, and within a bound.

In: a revision in a store. Out: a folder with its files. A copy is made under another name and
renamed when it is complete, so that a folder in the cache is always whole. The copies that were
not used for longest make room for new ones; those in use stay. A cache belongs to one process.
Everything but `readings` blocks.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections import Counter as Multiset
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from sigrun.config.object_store import ObjectStoreOptions
from sigrun.errors import ResourceExhausted
from sigrun.servables.object_store import StoredObject, StoredRevision
from sigrun.telemetry.metrics import Counter, Gauge, Reading

logger = logging.getLogger(__name__)

_UNFINISHED = "unfinished-"


class Store(Protocol):
    """Where versions come from."""

    def fetch(self, revision: StoredRevision, folder: Path) -> None:
        """Copy the files of `revision` into `folder` and check them."""


class ModelCache:
    """Keeps copies in `options.cache_dir`. Used by many threads at the same time."""

    def __init__(self, options: ObjectStoreOptions, store: Store) -> None:
        self._folder = options.cache_dir
        self._limit = options.cache_bytes
        self._store = store
        self._lock = threading.Lock()
        self._used: Multiset[str] = Multiset()
        self._reserved: dict[str, int] = {}
        self._is_swept = False
        self._fetched_bytes = 0
        self._fetches = 0
        self._failures = 0
        self._kept_bytes = 0

    def take(self, revision: StoredRevision) -> Path:
        """Return a folder with the files of `revision`, fetched if need be; `give_back` it later.

        Raises `ResourceExhausted` if there is no room, `DataLoss` for what comes damaged, and
        OSError for a store or a disk that fails.
        """
        key = revision.key
        folder = self._folder / key
        with self._lock:
            self._sweep()
            self._used[key] += 1
            if _is_whole(folder, revision.objects):
                os.utime(folder)
                return folder
        try:
            self._fetch(revision, folder)
        except BaseException:
            with self._lock:
                self._failures += 1
                self._forget(key)
            raise
        return folder

    def give_back(self, revision: StoredRevision) -> None:
        """Let the copy of `revision` make room for others, when nobody else uses it."""
        with self._lock:
            self._forget(revision.key)

    def progress(self, revision: StoredRevision) -> int:
        """Return how many bytes of a fetch that is under way are there."""
        total = 0
        for folder in self._folder.glob(f"{_UNFINISHED}{revision.key}-*"):
            for path in folder.rglob("*"):
                with suppress(OSError):
                    total += path.stat().st_size if path.is_file() else 0
        return total

    def readings(self) -> Iterable[Reading]:
        """Yield what was counted, as metrics."""
        yield Counter(
            name="sigrun_object_store_fetches",
            help="Versions that were fetched from object stores",
            value=self._fetches,
        )
        yield Counter(
            name="sigrun_object_store_fetch_failures",
            help="Versions that could not be fetched, or came damaged",
            value=self._failures,
        )
        yield Counter(
            name="sigrun_object_store_fetched_bytes",
            help="Bytes of the versions that were fetched",
            value=self._fetched_bytes,
        )
        yield Gauge(
            name="sigrun_object_store_cache_bytes",
            help="Bytes of the copies that are kept",
            value=self._kept_bytes,
        )

    def _fetch(self, revision: StoredRevision, folder: Path) -> None:
        key = revision.key
        with self._lock:
            self._make_room(revision)
            self._reserved[key] = revision.bytes
        unfinished = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{key}-", dir=self._folder))
        try:
            self._store.fetch(revision, unfinished)
            with self._lock:
                if folder.exists():  # with files that were changed since
                    shutil.rmtree(folder)
                unfinished.rename(folder)
                self._fetches += 1
                self._fetched_bytes += revision.bytes
                self._kept_bytes = sum(size for _, size in self._copies())
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            with self._lock:
                self._reserved.pop(key, None)

    def _make_room(self, revision: StoredRevision) -> None:
        """Remove copies until that of `revision` fits. Raises `ResourceExhausted`."""
        copies = dict(self._copies())
        taken = sum(copies.values()) + sum(self._reserved.values())
        limit = self._limit or (taken + shutil.disk_usage(self._folder).free) // 2
        if not self._limit:
            limit = max(limit, taken)
        oldest = sorted(copies, key=lambda path: path.stat().st_mtime)
        for copy in oldest:
            if taken + revision.bytes <= limit:
                break
            if not self._used[copy.name]:
                logger.info("removing the copy in %s to make room", copy)
                shutil.rmtree(copy)
                taken -= copies[copy]
        if taken + revision.bytes > limit:
            raise ResourceExhausted(
                f"{revision.url} has {revision.bytes} bytes, and {max(limit - taken, 0)} of the "
                f"{limit} for models from object stores are free (--object_store_cache_bytes)"
            )

    def _copies(self) -> Iterator[tuple[Path, int]]:
        for folder in self._folder.iterdir():
            if folder.is_dir() and not folder.name.startswith(_UNFINISHED):
                files = (path for path in folder.rglob("*") if path.is_file())
                yield folder, sum(path.stat().st_size for path in files)

    def _sweep(self) -> None:
        """Make the folder, and remove what an earlier process has left unfinished; once."""
        if not self._is_swept:
            self._folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self._folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            self._is_swept = True

    def _forget(self, key: str) -> None:
        self._used[key] -= 1
        if self._used[key] <= 0:
            del self._used[key]


def _is_whole(folder: Path, objects: Iterable[StoredObject]) -> bool:
    if not folder.is_dir():
        return False
    try:
        return all((folder / stored.name).stat().st_size == stored.size for stored in objects)
    except OSError:
        return False
