from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from sigrun.config.object_store import ObjectStoreOptions
from sigrun.errors import DataLoss, DeadlineExceeded, InvalidArgument, Unavailable
from sigrun.servables import fetching
from sigrun.servables.fetching import FetchingLoader
from sigrun.servables.model_cache import ModelCache
from sigrun.servables.object_store import StoredRevision
from sigrun.servables.servable import ServableId
from tests.fakes.servables import FakeLoader
from tests.unit.servables.test_model_cache import FakeStore, revision

pytestmark = pytest.mark.asyncio

ID = ServableId("m", 1)


class Store(FakeStore):
    """Fails with each of `errors` first, and waits until `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, revision: StoredRevision, folder: Path) -> None:
        self.gate.wait()
        self.error = self.errors.pop(0) if self.errors else None
        super().fetch(revision, folder)


class Rig:
    def __init__(self, folder: Path, max_fetch_s: float = 60.0) -> None:
        self.store = Store()
        options = ObjectStoreOptions(cache_dir=folder, cache_bytes=50)
        self.cache = ModelCache(options, self.store)
        self.inner = FakeLoader(ID)
        self.paths: list[Path] = []
        self.loader = FetchingLoader(
            ID,
            revision("a"),
            cache=self.cache,
            make_loader=self._make,
            max_fetch_s=max_fetch_s,
        )

    def _make(self, path: Path) -> FakeLoader:
        self.paths.append(path)
        return self.inner

    def has_room(self) -> bool:
        """Return whether the copy of `a` may make room for another version."""
        try:
            self.cache.take(revision("b"))
        except Exception:
            return False
        return True

    def has_room_soon(self) -> bool:
        """Wait for the fetch that is under way, then tell."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.store.fetched and self.has_room():
                return True
        return False


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0.0)


async def test_the_copy_is_loaded_and_kept_while_the_version_is(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    servable = await rig.loader.load()

    assert servable is rig.inner.servable
    assert (rig.paths[0] / "file").stat().st_size == 40
    assert not rig.has_room()


async def test_after_the_unload_the_copy_makes_room(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.loader.load()

    await rig.loader.unload()

    assert rig.inner.unloads == 1
    assert rig.has_room()


async def test_a_copy_that_cannot_be_loaded_makes_room(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.inner.errors.append(InvalidArgument("no model"))

    with pytest.raises(InvalidArgument, match="no model"):
        await rig.loader.load()

    assert rig.has_room()


@pytest.mark.parametrize("error", [OSError("gone"), DataLoss("damaged")])
async def test_what_fails_is_fetched_again(tmp_path: Path, error: Exception) -> None:
    rig = Rig(tmp_path)
    rig.store.errors = [error, error]

    await rig.loader.load()

    assert len(rig.store.fetched) == 3


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError("gone"), Unavailable, "s3://bucket/a cannot be fetched: gone"),
        (DataLoss("damaged"), DataLoss, "damaged"),
    ],
)
async def test_what_fails_again_and_again_is_given_up(
    tmp_path: Path, error: Exception, kind: type[Exception], text: str
) -> None:
    rig = Rig(tmp_path)
    rig.store.errors = [error] * 3

    with pytest.raises(kind, match=text):
        await rig.loader.load()

    assert rig.paths == []


async def test_what_does_not_come_in_time_is_given_up_and_given_back_when_it_comes(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, max_fetch_s=0.05)
    rig.store.gate.clear()

    with pytest.raises(DeadlineExceeded, match=r"not fetched within 0\.05 s"):
        await rig.loader.load()

    rig.store.gate.set()
    assert await asyncio.to_thread(rig.has_room_soon)


async def test_id_and_revision_are_those_of_the_version_in_the_store(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    assert (rig.loader.id, rig.loader.revision) == (ID, revision("a"))
