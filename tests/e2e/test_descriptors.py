"""A server whose standard descriptors are stuck, full or closed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeBasePath
from tests.e2e.process import SIGRUN, START_TIMEOUT_S, STOP_TIMEOUT_S, RunningServer, free_port
from tests.processes import children, is_alive

pytestmark = pytest.mark.e2e

_PIPE_BYTES = 4096
_LOG_PROCESS_TIMEOUT_S = 20.0


@contextlib.contextmanager
def serving(
    redirections: str, base_path: Path, stderr: int | None = None
) -> Iterator[RunningServer]:
    """Run `sigrun serve` under bash with `redirections` until the block ends."""
    grpc_port, http_port = free_port(), free_port()
    line = (
        f"exec {SIGRUN} serve {base_path} --model_name=half --access_log "
        f"--port={grpc_port} --rest_api_port={http_port} {redirections}"
    )
    process = subprocess.Popen(["bash", "-c", line], stderr=stderr, text=True)
    with tempfile.NamedTemporaryFile() as log:
        server = RunningServer(process, grpc_port, http_port, Path(log.name))
        try:
            server.wait_for(server.is_ready, "readiness", START_TIMEOUT_S)
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(STOP_TIMEOUT_S)


def test_a_stderr_that_nobody_reads_holds_nothing_up(make_base_path: MakeBasePath) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with serving(">&2", base_path, stderr=writing) as server:
        os.close(writing)
        for _ in range(100):  # more than the pipe takes
            assert server.get("/v1/models/half")[0] == 200
        (log_process,) = children(server.process.pid)

        server.signal(signal.SIGTERM)

        assert server.wait() == 0
        server_ended_at = time.monotonic()
        while is_alive(log_process):
            assert time.monotonic() - server_ended_at < _LOG_PROCESS_TIMEOUT_S
            time.sleep(0.1)
    os.close(reading)


@pytest.mark.parametrize("redirections", [">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_without_anywhere_to_write_it_serves_and_ends_well(
    redirections: str, make_base_path: MakeBasePath
) -> None:
    with serving(redirections, make_base_path({1: "half_plus_two"})) as server:
        assert server.get("/v1/models/half")[0] == 200

        server.signal(signal.SIGTERM)

        assert server.wait() == 0
