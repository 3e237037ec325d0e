"""A server process for each test, and how long the tests are to take."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sigrun.config.server import Transport

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
SETTLE_S = 60.0
IS_LONG = bool(os.environ.get("SIGRUN_RELIABILITY"))  # set by `make reliability`


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and give it time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(900 if IS_LONG else 300))


def resident_bytes(process_id: int) -> int:
    """Return how much memory a process holds now."""
    pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Victim:
    """A server process and its ports."""

    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int
    log: list[str]

    @property
    def grpc(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    @property
    def rss_bytes(self) -> int:
        """How much memory it holds now."""
        return resident_bytes(self.process.pid)

    def stop(self, timeout_s: float = 60.0) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Return when something is the case."""
    try:
        async with asyncio.timeout(SETTLE_S):
            while not await asyncio.to_thread(is_so):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what} does not happen")


Begin = Callable[..., "contextlib.AbstractContextManager[Victim]"]


@contextlib.contextmanager
def victim(
    *,
    transport: Transport = Transport.OWN,
    batching: bool = False,
    grace_s: float = 20.0,
    max_requests: int = 0,
    access_log: bool = False,
) -> Iterator[Victim]:
    """Run a server; it is killed at the end if it is still there."""
    words = [f"--transport={transport.value}", f"--grace_s={grace_s}"]
    words += [f"--max_requests={max_requests}"]
    words += ["--batching"] if batching else []
    words += ["--access_log"] if access_log else []
    with running("tests.reliability.server", *words) as one:
        yield one


@contextlib.contextmanager
def running(module: str, *words: str) -> Iterator[Victim]:
    """Run a module that prints its ports; it is killed at the end if it is still there."""
    path = os.pathsep.join([str(REPOSITORY / "server"), str(REPOSITORY)])
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        log: list[str] = []
        reader = threading.Thread(target=log.extend, args=[process.stderr])
        reader.start()
        try:
            ports = json.loads(process.stdout.readline())
            yield Victim(process, ports["grpc"], ports["http"], log)
        finally:
            process.kill()
            process.wait()
            reader.join()


@pytest.fixture
def begin() -> Begin:
    """Return what runs a server."""
    return victim
