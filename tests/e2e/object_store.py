"""A server that speaks S3, as a process that can be stopped and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.process import free_port

BUCKET = "models"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3:
    """One server with one bucket."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": url}
        self._system: Any = None

    def connect(self) -> None:
        """Make the bucket."""
        import s3fs  # type: ignore[import-untyped]

        self._system = s3fs.S3FileSystem(
            key="key",
            secret="secret",
            client_kwargs={"endpoint_url": self.environment["AWS_ENDPOINT_URL"]},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._system.mkdir(BUCKET)

    def upload(self, folder: Path, name: str) -> None:
        """Copy a folder to `s3://models/NAME`."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{name}/{path.relative_to(folder)}", path.read_bytes())

    def write(self, key: str, content: bytes) -> None:
        """Write one object."""
        self._system.pipe_file(f"{BUCKET}/{key}", content)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answer nobody until the block ends."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_s3() -> Iterator[S3]:
    """Run a server until the block ends."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, **CREDENTIALS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(process, url)
        s3 = S3(process, url)
        s3.connect()
        yield s3
    finally:
        process.kill()
        process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    ends_at = time.monotonic() + 60
    while True:
        assert process.poll() is None
        assert time.monotonic() < ends_at
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
