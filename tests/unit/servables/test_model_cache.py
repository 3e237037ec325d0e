from __future__ import annotations

import os
from pathlib import Path

import pytest

from sigrun.config.object_store import ObjectStoreOptions
from sigrun.errors import DataLoss, InvalidArgument, ResourceExhausted
from sigrun.servables.model_cache import ModelCache
from sigrun.servables.object_store import StoredObject, StoredRevision


def revision(name: str, size: int = 40) -> StoredRevision:
    return StoredRevision(
        path=f"s3:/bucket/{name}",
        files=frozenset({("file", size, 1)}),
        changed_at=0.0,
        url=f"s3://bucket/{name}",
        objects=(StoredObject(f"bucket/{name}/file", "file", size, ""),),
    )


class FakeStore:
    """Writes as many bytes as an object has. `fetched` lists what was fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.error: Exception | None = None

    def fetch(self, revision: StoredRevision, folder: Path) -> None:
        self.fetched.append(revision.url)
        (folder / "file").write_bytes(b"x" * revision.bytes)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def cache(store: FakeStore, tmp_path: Path) -> ModelCache:
    return ModelCache(ObjectStoreOptions(cache_dir=tmp_path / "cache", cache_bytes=100), store)


def age(path: Path, seconds: float) -> None:
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def test_a_version_is_fetched_once(cache: ModelCache, store: FakeStore) -> None:
    first = cache.take(revision("a"))
    cache.give_back(revision("a"))

    assert cache.take(revision("a")) == first
    assert store.fetched == ["s3://bucket/a"]
    assert (first / "file").read_bytes() == b"x" * 40


def test_a_copy_that_is_not_whole_is_fetched_again(cache: ModelCache, store: FakeStore) -> None:
    folder = cache.take(revision("a"))
    (folder / "file").write_bytes(b"x")

    cache.take(revision("a"))

    assert len(store.fetched) == 2
    assert (folder / "file").stat().st_size == 40


def test_a_fetch_that_fails_leaves_nothing_behind(
    cache: ModelCache, store: FakeStore, tmp_path: Path
) -> None:
    store.error = DataLoss("damaged")

    with pytest.raises(DataLoss):
        cache.take(revision("a"))

    assert list((tmp_path / "cache").iterdir()) == []
    values = {reading.name: reading.value for reading in cache.readings()}
    assert values["sigrun_object_store_fetch_failures"] == 1


def test_the_copy_that_was_not_used_for_longest_makes_room(
    cache: ModelCache, store: FakeStore
) -> None:
    a, b = cache.take(revision("a")), cache.take(revision("b"))
    age(a, 10)
    age(b, 20)
    cache.give_back(revision("a"))
    cache.give_back(revision("b"))

    cache.take(revision("c"))

    assert (a.exists(), b.exists()) == (True, False)


def test_a_copy_in_use_stays_and_what_finds_no_room_is_refused(cache: ModelCache) -> None:
    a, b = cache.take(revision("a")), cache.take(revision("b"))

    with pytest.raises(ResourceExhausted, match="has 40 bytes, and 20 of the 100"):
        cache.take(revision("c"))

    assert a.exists()
    assert b.exists()


def test_what_is_larger_than_the_cache_is_refused_before_it_is_fetched(
    cache: ModelCache, store: FakeStore
) -> None:
    with pytest.raises(ResourceExhausted, match="has 101 bytes, and 100 of the 100"):
        cache.take(revision("a", 101))

    assert store.fetched == []


def test_without_a_size_it_goes_by_the_disk(store: FakeStore, tmp_path: Path) -> None:
    cache = ModelCache(ObjectStoreOptions(cache_dir=tmp_path), store)

    assert cache.take(revision("a")).exists()
    with pytest.raises(ResourceExhausted):
        cache.take(revision("b", 2**62))


def test_what_an_earlier_process_left_unfinished_is_removed(
    store: FakeStore, tmp_path: Path
) -> None:
    (tmp_path / "unfinished-x").mkdir()
    cache = ModelCache(ObjectStoreOptions(cache_dir=tmp_path), store)

    cache.take(revision("a"))

    assert not (tmp_path / "unfinished-x").exists()


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        ObjectStoreOptions(cache_bytes=-1)
    with pytest.raises(InvalidArgument):
        ObjectStoreOptions(max_fetch_s=0)
