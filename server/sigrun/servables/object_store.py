"""Base paths in object stores, through fsspec: what is there, and a copy of it on this machine.

In: URLs such as `s3://bucket/models/mnist`. Out: what `folders` says of local paths, and the
files of a version in a local folder. A path stands for its URL: `Path("s3:/bucket/1")`.
Credentials come from where the store's own tools look for them. Everything here blocks, for
as long as a store wants, and belongs into a thread that nobody has to wait for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from sigrun.errors import DataLoss, InvalidArgument
from sigrun.servables.folders import Budget, Listing, Revision, listing_of

_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}
_MD5 = re.compile(r"[0-9a-f]{32}")
_HTTP = ("http", "https")
_GOOGLE = ("gs", "gcs")
_MODIFIED = ("LastModified", "Last-Modified", "updated", "last_modified", "mtime", "created")
_TAGS = ("ETag", "etag", "md5Hash", "Content-MD5", "generation", "content_md5", *_MODIFIED)
_PARALLEL_FILES = 8
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file of a version. `md5` is empty where the store does not say it."""

    key: str
    name: str  # relative to the version
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class StoredRevision(Revision):
    """What a version in an object store consisted of at one look."""

    url: str
    objects: tuple[StoredObject, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(stored.size for stored in self.objects)

    @property
    def key(self) -> str:
        """A name for exactly these contents."""
        text = repr((self.url, sorted(self.files)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class ObjectStore:
    """Reads object stores of every kind; implements `Folders`."""

    def list_versions(self, base_path: str) -> Listing:
        """Return the versions under a URL; see `folders.list_versions`. Raises OSError."""
        with _as_os_errors(base_path):
            system, root = _file_system(base_path)
            entries = system.ls(root, detail=True)
            names = {_name(entry["name"], base_path) for entry in entries}
            names -= {PurePosixPath(root).name}
            return listing_of(_path(base_path), sorted(filter(None, names)))

    def read_revision(self, path: Path, budget: Budget) -> Revision:
        """Return what the version at `path` holds now. Raises OSError."""
        url = _url(path)
        with _as_os_errors(url):
            system, root = _file_system(url)
            return _revision(path, url, _objects(system, root, path, budget))

    def fetch(self, revision: StoredRevision, folder: Path) -> None:
        """Copy the files of `revision` into `folder`, several at a time, and check each.

        Raises `DataLoss` for a file that is not what the store said it is, OSError for a store
        that fails or has changed meanwhile.
        """
        for stored in revision.objects:
            (folder / stored.name).parent.mkdir(parents=True, exist_ok=True)
        with _as_os_errors(revision.url):
            system, _ = _file_system(revision.url)
            system.get(
                [stored.key for stored in revision.objects],
                [str(folder / stored.name) for stored in revision.objects],
                batch_size=_PARALLEL_FILES,
            )
        for stored in revision.objects:
            check(stored, folder, revision.url)
        now = self.read_revision(Path(revision.path), Budget())
        if not now.is_like(revision):
            raise OSError(f"{revision.url} has changed while it was fetched")


def check(stored: StoredObject, folder: Path, url: str) -> None:
    """Raise `DataLoss` unless the copy in `folder` is what the store said. Raises OSError."""
    path = folder / stored.name
    size = path.stat().st_size
    if size != stored.size:
        raise DataLoss(
            f"{url}/{stored.name} came with {size} bytes, and the store says {stored.size}"
        )
    if stored.md5 and (md5 := _md5_of_file(path)) != stored.md5:
        raise DataLoss(f"{url}/{stored.name} came damaged: MD5 {md5}, not {stored.md5}")


class _as_os_errors:  # noqa: N801  # reads as a statement
    """Turns what a store's library raises into OSErrors: there are as many kinds as stores."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, ImportError):
            scheme = self._url.partition("://")[0]
            extra = _EXTRAS.get(scheme, "http")
            raise OSError(
                f"{scheme}:// needs a package: pip install 'sigrun[{extra}]' ({error})"
            ) from None
        if isinstance(error, FileNotFoundError) and self._url not in str(error):
            raise FileNotFoundError(f"{self._url} does not exist ({error})") from error
        if isinstance(error, Exception) and not isinstance(error, OSError):
            raise OSError(f"{type(error).__name__}: {error}") from error


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it, without memory of what was there."""
    if _scheme(url) in _GOOGLE:
        # What gcsfs does for zonal buckets asks a second service for the kind of every bucket, and
        # asks again, for up to a minute, where it gets no answer: with no credentials, say.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import fsspec  # noqa: PLC0415  # optional
    from fsspec.core import url_to_fs  # noqa: PLC0415

    del fsspec
    system, root = url_to_fs(url, use_listings_cache=False)
    system.invalidate_cache()
    return system, root.rstrip("/")


def _path(url: str) -> Path:
    return Path(url)


def _url(path: Path) -> str:
    scheme, _, rest = str(path).partition(":/")
    return f"{scheme}://{rest}"


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _name(key: str, url: str) -> str:
    """Return the last part of an object's key, "" for what is no object."""
    return PurePosixPath(_relative(key.rstrip("/"), "", url)).name


def _relative(key: str, root: str, url: str) -> str:
    """Return an object's name relative to `root`, "" for what is no object.

    Over HTTP the keys are what a page links to: quoted, and with links that sort the page.
    """
    name = key.removeprefix(root).lstrip("/")
    if _scheme(url) not in _HTTP:
        return name
    if "?" in name or "#" in name:
        return ""
    return unquote(name)


def _objects(
    system: Any, root: str, path: Path, budget: Budget
) -> Iterator[tuple[Mapping[str, Any], StoredObject]]:
    url = _url(path)
    found = {str(key): entry for key, entry in system.find(root, detail=True).items()}
    names = {key: name for key in found if (name := _relative(key, root, url))}
    if not names:
        raise FileNotFoundError(f"{url} is empty")
    for key, name in sorted(names.items()):
        budget.spend(path)
        entry = found[key]
        if entry.get("size") is None:  # HTTP: a listing is a page of links
            entry = system.info(key)
        if entry.get("size") is None:
            raise OSError(f"{url} has a file whose size the server does not say: {name}")
        if ".." in PurePosixPath(name).parts or "\0" in name:
            raise InvalidArgument(f"{url} has a file with the name {name!r}")
        yield entry, StoredObject(key, name, int(entry["size"]), _md5(entry, url))


def _revision(
    path: Path, url: str, found: Iterator[tuple[Mapping[str, Any], StoredObject]]
) -> StoredRevision:
    objects: list[StoredObject] = []
    files: list[tuple[str, int, int]] = []
    changed_at = 0.0
    for entry, stored in found:
        objects.append(stored)
        tags = repr([str(entry[tag]) for tag in _TAGS if tag in entry])
        number = int.from_bytes(hashlib.sha256(tags.encode()).digest()[:7], "big")
        files.append((stored.name, stored.size, number))
        changed_at = max(changed_at, _changed_at(entry))
    return StoredRevision(str(path), frozenset(files), changed_at, url, tuple(objects))


def _changed_at(entry: Mapping[str, Any]) -> float:
    """Return when an object was written; infinite, that is "just now", where nobody knows."""
    for key in _MODIFIED:
        value = entry.get(key)
        if isinstance(value, str):
            value = _time(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return math.inf


def _time(text: str) -> datetime | None:
    """Return what a text in ISO 8601 or in HTTP's form says, None for any other."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _md5(entry: Mapping[str, Any], url: str) -> str:
    """Return the MD5 that a store knows of an object, in hexadecimal digits; "" if it has none.

    An S3 ETag is one, but for what was uploaded in parts or is encrypted with a key of its own.
    That of an HTTP server may be anything.
    """
    tag = str(entry.get("ETag", "")).strip('"')
    if _MD5.fullmatch(tag) and "ServerSideEncryption" not in entry and _scheme(url) not in _HTTP:
        return tag
    settings = entry.get("content_settings") or {}  # Azure's class has `get`, and is no Mapping
    encoded = entry.get("md5Hash") or entry.get("Content-MD5") or settings.get("content_md5")
    if isinstance(encoded, bytes | bytearray):
        return bytes(encoded).hex()
    if isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True).hex()
        except binascii.Error:
            return ""
    return ""


def _md5_of_file(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
