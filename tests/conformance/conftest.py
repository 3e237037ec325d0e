"""The server of the cases, as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sigrun.config.server import Transport

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server of the cases answers."""

    grpc: str
    http: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and give it the time that a process with TensorFlow takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", params=list(Transport), ids=lambda transport: transport.value)
def conformance_server(request: pytest.FixtureRequest) -> Iterator[Addresses]:
    """Return the addresses of the server of the cases, once for each transport of gRPC."""
    path = os.pathsep.join([str(REPOSITORY / "server"), str(REPOSITORY)])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.server", request.param.value],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            yield Addresses(
                grpc=f"127.0.0.1:{ports['grpc_port']}",
                http=f"http://127.0.0.1:{ports['http_port']}",
            )
            process.communicate(timeout=STOP_TIMEOUT_S)
            assert process.returncode == 0
        finally:
            process.kill()
