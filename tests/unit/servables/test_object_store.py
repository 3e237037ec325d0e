from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sigrun.errors import DataLoss
from sigrun.servables import object_store
from sigrun.servables.folders import Budget, TooManyEntriesError
from sigrun.servables.object_store import ObjectStore, StoredRevision

WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


class FakeSystem:
    """A store in memory, as fsspec shows one. `damage` changes what is fetched."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.extra: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None
        self.sent: dict[str, bytes] = {}

    def ls(self, root: str, detail: bool) -> list[dict[str, Any]]:
        self._fail()
        names = {key.removeprefix(root + "/").split("/")[0] for key in self.objects}
        if not names:
            raise FileNotFoundError(root)
        return [{"name": f"{root}/{name}"} for name in names] + [{"name": f"{root}/"}]

    def find(self, root: str, detail: bool) -> dict[str, dict[str, Any]]:
        self._fail()
        return {
            key: {
                "name": key,
                "size": len(content),
                "ETag": f'"{hashlib.md5(content).hexdigest()}"',
                "LastModified": WRITTEN,
                **self.extra.get(key, {}),
            }
            for key, content in self.objects.items()
            if key.startswith(root + "/")
        }

    def info(self, key: str) -> dict[str, Any]:
        return {"name": key, "size": len(self.objects[key])}

    def get(self, keys: list[str], paths: list[str], batch_size: int) -> None:
        self._fail()
        for key, path in zip(keys, paths, strict=True):
            Path(path).write_bytes(self.sent.get(key, self.objects[key]))

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakeSystem:
    fake = FakeSystem(
        {
            "bucket/m/1/saved_model.pb": b"graph",
            "bucket/m/1/variables/variables.index": b"index",
            "bucket/m/tmp/x": b"",
            "bucket/m/00000002/saved_model.pb": b"another",
        }
    )
    monkeypatch.setattr(
        object_store, "_file_system", lambda url: (fake, url.partition("://")[2].rstrip("/"))
    )
    return fake


def revision(version: str = "1") -> StoredRevision:
    found = ObjectStore().read_revision(Path(f"s3://bucket/m/{version}"), Budget())
    assert isinstance(found, StoredRevision)
    return found


def test_versions_are_what_has_a_number_for_its_name(system: FakeSystem) -> None:
    listing = ObjectStore().list_versions("s3://bucket/m/")

    assert listing.versions == {
        1: Path("s3:/bucket/m/1"),
        2: Path("s3:/bucket/m/00000002"),
    }


def test_a_base_path_without_anything_in_it_is_missing_and_not_empty(system: FakeSystem) -> None:
    system.objects.clear()

    with pytest.raises(FileNotFoundError):
        ObjectStore().list_versions("s3://bucket/m")


def test_a_revision_has_the_files_and_their_time(system: FakeSystem) -> None:
    found = revision()

    assert {name: size for name, size, _ in found.files} == {
        "saved_model.pb": 5,
        "variables/variables.index": 5,
    }
    assert (found.url, found.bytes) == ("s3://bucket/m/1", 10)
    assert found.changed_at == WRITTEN.timestamp()


def test_an_object_that_is_overwritten_makes_another_revision(system: FakeSystem) -> None:
    before = revision()
    assert revision().is_like(before)
    system.objects["bucket/m/1/saved_model.pb"] = b"grapH"

    after = revision()

    assert not after.is_like(before)
    assert after.key != before.key


def test_a_store_that_does_not_know_when_is_taken_to_have_changed_now(system: FakeSystem) -> None:
    system.extra["bucket/m/1/saved_model.pb"] = {"size": None}
    system.objects = {"bucket/m/1/saved_model.pb": b"graph"}

    found = revision()
    assert (found.changed_at, found.bytes) == (math.inf, 5)


def test_a_look_at_too_many_files_is_given_up(system: FakeSystem) -> None:
    with pytest.raises(TooManyEntriesError):
        ObjectStore().read_revision(Path("s3://bucket/m/1"), Budget(left=1))


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_a_name_that_leads_out_of_the_version_is_refused(system: FakeSystem, name: str) -> None:
    system.objects[f"bucket/m/1/{name}"] = b""

    with pytest.raises(OSError, match="has a file with the name"):
        revision()


def test_what_is_fetched_is_the_files(system: FakeSystem, tmp_path: Path) -> None:
    ObjectStore().fetch(revision(), tmp_path)

    assert (tmp_path / "saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "variables" / "variables.index").read_bytes() == b"index"


@pytest.mark.parametrize(
    ("sent", "text"),
    [(b"gra", "came with 3 bytes, and the store says 5"), (b"grapH", "came damaged: MD5")],
)
def test_what_comes_damaged_is_data_loss(
    system: FakeSystem, tmp_path: Path, sent: bytes, text: str
) -> None:
    system.sent["bucket/m/1/saved_model.pb"] = sent

    with pytest.raises(DataLoss, match=rf"^s3://bucket/m/1/saved_model\.pb {text}"):
        ObjectStore().fetch(revision(), tmp_path)


def test_a_change_while_it_is_fetched_is_noticed(system: FakeSystem, tmp_path: Path) -> None:
    before = revision()
    system.objects["bucket/m/1/more"] = b""

    with pytest.raises(OSError, match="has changed while it was fetched"):
        ObjectStore().fetch(before, tmp_path)


class PagesSystem(FakeSystem):
    """A web server, as fsspec shows one: what a page links to, and a HEAD request for each."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        super().__init__(objects)
        self.headers: dict[str, str] = {}
        self.says_sizes = True

    def find(self, root: str, detail: bool) -> dict[str, dict[str, Any]]:
        links = [*(key for key in self.objects if key.startswith(root)), f"{root}/?C=N;O=D"]
        return {link: {"name": link, "size": None, "type": "file"} for link in links}

    def info(self, key: str) -> dict[str, Any]:
        size = len(self.objects[key]) if self.says_sizes else None
        return {"name": key, "size": size, **self.headers}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> PagesSystem:
    fake = PagesSystem(
        {
            "http://host/m/1/saved_model.pb": b"graph",
            "http://host/m/1/assets/my%20words.txt": b"words",
        }
    )
    monkeypatch.setattr(object_store, "_file_system", lambda url: (fake, url.rstrip("/")))
    return fake


def revision_over_http() -> StoredRevision:
    found = ObjectStore().read_revision(Path("http://host/m/1"), Budget())
    assert isinstance(found, StoredRevision)
    return found


def test_over_http_names_are_unquoted_and_links_that_sort_a_page_are_no_files(
    pages: PagesSystem, tmp_path: Path
) -> None:
    found = revision_over_http()
    ObjectStore().fetch(found, tmp_path)

    assert {name for name, _, _ in found.files} == {"saved_model.pb", "assets/my words.txt"}
    assert (tmp_path / "assets" / "my words.txt").read_bytes() == b"words"


def test_over_http_links_that_sort_a_page_are_no_versions(
    pages: PagesSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = ["http://host/m/?C=S;O=A", "http://host/m/1/", "http://host/m/2?x"]
    monkeypatch.setattr(pages, "ls", lambda root, detail: [{"name": link} for link in links])

    assert set(ObjectStore().list_versions("http://host/m").versions) == {1}


def test_over_http_a_file_is_as_old_as_its_header_says(pages: PagesSystem) -> None:
    pages.headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"

    assert revision_over_http().changed_at == WRITTEN.timestamp()


def test_a_time_in_no_known_form_is_none(pages: PagesSystem) -> None:
    pages.headers["Last-Modified"] = "yesterday"

    assert revision_over_http().changed_at == math.inf


@pytest.mark.parametrize("header", ["Last-Modified", "ETag", "Content-MD5"])
def test_over_http_another_header_makes_another_revision(pages: PagesSystem, header: str) -> None:
    pages.headers[header] = "a"
    before = revision_over_http()
    pages.headers[header] = "b"

    assert not revision_over_http().is_like(before)


def test_a_server_that_says_no_size_is_refused(pages: PagesSystem) -> None:
    pages.says_sizes = False

    with pytest.raises(OSError, match=r"whose size the server does not say: assets/my words\.txt"):
        revision_over_http()


def test_an_etag_of_a_web_server_is_no_md5(pages: PagesSystem, tmp_path: Path) -> None:
    pages.headers["ETag"] = f'"{hashlib.md5(b"anything").hexdigest()}"'

    ObjectStore().fetch(revision_over_http(), tmp_path)


def test_over_http_a_name_that_leads_out_of_the_version_is_refused(pages: PagesSystem) -> None:
    pages.objects["http://host/m/1/%2e%2e/x"] = b""

    with pytest.raises(OSError, match=r"has a file with the name '\.\./x'"):
        revision_over_http()


class AzureSettings:
    """What Azure's library says of an object: it has `get`, and is no dict."""

    def __init__(self, content: bytes) -> None:
        self._md5 = bytearray(hashlib.md5(content).digest())

    def get(self, name: str) -> bytearray | None:
        return self._md5 if name == "content_md5" else None


@pytest.mark.parametrize(
    ("extra", "checks"),
    [
        ({"ETag": '"0123456789abcdef0123456789abcdef-2"'}, False),  # uploaded in parts
        ({"ServerSideEncryption": "aws:kms"}, False),
        ({"ETag": "", "md5Hash": base64.b64encode(hashlib.md5(b"graph").digest()).decode()}, True),
        ({"ETag": "0x8D", "content_settings": AzureSettings(b"graph")}, True),
    ],
)
def test_contents_are_checked_where_the_store_knows_their_md5(
    system: FakeSystem, tmp_path: Path, extra: dict[str, Any], checks: bool
) -> None:
    key = "bucket/m/1/saved_model.pb"
    system.extra[key] = extra
    ObjectStore().fetch(revision(), tmp_path)
    system.sent[key] = b"grapH"

    if checks:
        with pytest.raises(DataLoss):
            ObjectStore().fetch(revision(), tmp_path)
    else:
        ObjectStore().fetch(revision(), tmp_path)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("no endpoint"), "RuntimeError: no endpoint"),
        (ImportError("no s3fs"), r"s3:// needs a package: pip install 'sigrun\[s3\]'"),
        (PermissionError("forbidden"), "forbidden"),
    ],
)
def test_every_failure_of_a_store_is_an_os_error(
    system: FakeSystem, error: Exception, text: str
) -> None:
    system.error = error

    with pytest.raises(OSError, match=text):
        ObjectStore().list_versions("s3://bucket/m")


def test_what_is_missing_is_named_as_the_user_named_it(system: FakeSystem) -> None:
    system.error = FileNotFoundError("b/bucket/o/m")

    with pytest.raises(FileNotFoundError, match=r"^s3://bucket/m does not exist \(b/bucket"):
        ObjectStore().list_versions("s3://bucket/m")


def test_a_version_without_files_is_missing(system: FakeSystem) -> None:
    with pytest.raises(FileNotFoundError, match="is empty"):
        revision("3")
