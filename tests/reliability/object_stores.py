"""Servers that speak as object stores do, as processes that can be stopped and go on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.process import free_port

HOST = "127.0.0.1"
START_TIMEOUT_S = 60
FETCH_TIMEOUT_S = 300  # npm may have to fetch some 190 MB
AZURITE = "azurite@3.37.0"

_AWS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = (  # Azurite's own, the same everywhere
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True)
class Store:
    """One server. `environment` is what clients need to find it."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    write: Callable[[str, bytes], None]
    environment: Mapping[str, str]

    def upload(self, folder: Path, name: str) -> None:
        """Copy a folder to `URL/NAME`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{name}/{path.relative_to(folder)}", path.read_bytes())

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answer nobody until the block ends."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def running_s3() -> Iterator[Store]:
    """Run a server with one bucket until the block ends."""
    import s3fs  # type: ignore[import-untyped]

    port = free_port()
    url = f"http://{HOST}:{port}"
    words = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with _running(words, port, environment=_AWS) as process:
        system = s3fs.S3FileSystem(
            key=_AWS["AWS_ACCESS_KEY_ID"],
            secret=_AWS["AWS_SECRET_ACCESS_KEY"],
            client_kwargs={"endpoint_url": url},
            skip_instance_cache=True,
        )
        system.mkdir("models")
        environment = {**_AWS, "AWS_ENDPOINT_URL": url}
        yield Store("s3", "s3://models", process, _writing(system), environment)


@contextmanager
def running_google() -> Iterator[Store]:
    """Run a server with one bucket until the block ends."""
    from gcsfs.core import GCSFileSystem  # type: ignore[import-untyped]

    port = free_port()
    url = f"http://{HOST}:{port}"
    command = str(Path(sys.executable).with_name("gcp-storage-emulator"))
    words = [command, "start", f"--host={HOST}", f"--port={port}", "--in-memory"]
    with _running([*words, "--default-bucket=models"], port) as process:
        system = GCSFileSystem(endpoint_url=url, token="anon", skip_instance_cache=True)
        environment = {"STORAGE_EMULATOR_HOST": url}
        yield Store("gs", "gs://models", process, _writing(system), environment)


@contextmanager
def running_http(folder: Path) -> Iterator[Store]:
    """Serve the files of a folder until the block ends."""

    def write(key: str, content: bytes) -> None:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    port = free_port()
    words = [sys.executable, "-m", "http.server", str(port), "--bind", HOST]
    with _running([*words, "--directory", str(folder)], port) as process:
        yield Store("http", f"http://{HOST}:{port}", process, write, {})


def azurite(*, fetch: bool) -> Sequence[str]:
    """Return the command that runs Azurite, () if there is none; npm may have to fetch it."""
    if found := shutil.which("azurite-blob"):
        return [found]
    if fetch and (npx := shutil.which("npx")):
        return [npx, "--yes", f"--package={AZURITE}", "azurite-blob"]
    return []


@contextmanager
def running_azure(command: Sequence[str]) -> Iterator[Store]:
    """Run Azurite with one container until the block ends."""
    from adlfs import AzureBlobFileSystem  # type: ignore[import-untyped]

    port = free_port()
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={_AZURE_ACCOUNT};AccountKey={_AZURE_KEY};"
        f"BlobEndpoint=http://{HOST}:{port}/{_AZURE_ACCOUNT};"
    )
    where = [f"--blobHost={HOST}", f"--blobPort={port}", "--inMemoryPersistence"]
    # The library may speak a version of the protocol that Azurite does not know yet.
    words = [*command, *where, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with _running(words, port, timeout_s=FETCH_TIMEOUT_S) as process:
        system = AzureBlobFileSystem(connection_string=connection, skip_instance_cache=True)
        system.mkdir("models")
        environment = {"AZURE_STORAGE_CONNECTION_STRING": connection}
        yield Store("az", "az://models", process, _writing(system), environment)


def misstate_azure_md5(store: Store, key: str) -> None:
    """Let Azure say an MD5 of an object that is not that of its contents."""
    from azure.storage.blob import (  # type: ignore[import-untyped,unused-ignore]
        BlobClient,
        ContentSettings,
    )

    connection = store.environment["AZURE_STORAGE_CONNECTION_STRING"]
    with BlobClient.from_connection_string(connection, "models", key) as blob:
        blob.set_http_headers(ContentSettings(content_md5=bytearray(16)))


def _writing(system: Any) -> Callable[[str, bytes], None]:
    return lambda key, content: system.pipe_file(f"models/{key}", content)


@contextmanager
def _running(
    words: Sequence[str],
    port: int,
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its children until the block ends; it listens when that begins."""
    process = subprocess.Popen(
        words,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_it_listens(process, port, timeout_s)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, timeout_s: float) -> None:
    ends_at = time.monotonic() + timeout_s
    while True:
        assert process.poll() is None, f"{process.args!r} has ended"
        assert time.monotonic() < ends_at, f"{process.args!r} does not listen"
        try:
            with socket.create_connection((HOST, port), timeout=5):
                return
        except OSError:
            time.sleep(0.1)
