"""Three servers on ports that stay theirs, whoever serves on them.

A server is forked from a process that has imported everything: it serves in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from sigrun.server import ModelServer
from tests.reliability.conftest import HOST
from tests.reliability.ports import steady_ports
from tests.reliability.server import main

COUNT = 3
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload([__name__])


class Replicas:
    """Places for servers, numbered from 0. `close` kills those that are left."""

    def __init__(self, folder: Path) -> None:
        ports = steady_ports(2 * COUNT)
        self.ports = list(zip(ports[::2], ports[1::2], strict=True))
        self.addresses = [f"{HOST}:{grpc_port}" for grpc_port, _ in self.ports]
        self._log = folder / "replicas.log"
        self._servers: dict[int, ForkServerProcess] = {}

    def begin(self, number: int, *, model_version: int, delay_s: float = 0.0) -> None:
        """Return when a server serves in this place."""
        grpc_port, http_port = self.ports[number]
        words = [f"--grpc_port={grpc_port}", f"--http_port={http_port}"]
        words += [f"--model_version={model_version}", f"--delay_s={delay_s}"]
        here, there = _FORKING.Pipe(duplex=False)
        server = _FORKING.Process(target=_serve, args=(words, there, str(self._log)))
        server.start()
        self._servers[number] = server
        there.close()
        with here:
            assert here.poll(START_TIMEOUT_S), self.log
            assert here.recv() == self.ports[number]

    def kill(self, number: int) -> None:
        """Return when the server in this place is dead."""
        self._signal(number, signal.SIGKILL)

    def drain(self, number: int) -> None:
        """Return when the server in this place has ended in order."""
        assert self._signal(number, signal.SIGTERM) == 0, self.log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        for server in self._servers.values():
            server.kill()
            server.join(STOP_TIMEOUT_S)
            server.close()

    def _signal(self, number: int, what: signal.Signals) -> int | None:
        server = self._servers.pop(number)
        assert server.pid is not None
        os.kill(server.pid, what)
        server.join(STOP_TIMEOUT_S)
        status = server.exitcode
        server.kill()
        server.join(STOP_TIMEOUT_S)
        server.close()
        return status


def _serve(words: list[str], ports: Connection, log: str) -> None:
    with Path(log).open("a") as output:
        os.dup2(output.fileno(), 2)

    def announce(server: ModelServer) -> None:
        assert server.http is not None
        ports.send((server.grpc.port, server.http.port))
        ports.close()

    main(words, announce)
