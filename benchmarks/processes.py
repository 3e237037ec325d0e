"""Start the servers, each as a process of its own on free ports of 127.0.0.1, and end them all.

A pool starts a server when it is first asked for and keeps it, idle, until the pool closes. What
was started never outlives the benchmark: it is killed at the end, and by the system if that is
killed itself.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from benchmarks import paths

LOCALHOST = "127.0.0.1"
START_TIMEOUT_S = 300.0
SIGRUN = Path(sys.executable).with_name("sigrun")
_STOP_TIMEOUT_S = 10.0
_IDLE_TIMEOUT_S = 15.0
_IDLE_S = 0.1
_POLL_S = 0.01
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class NotThere(Exception):
    """What a case needs is not installed here, or cannot be built; the text says what."""


class DidNotStart(Exception):
    """A server ended, or took too long; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """Which server, started how; `GRPC_PORT` and `HTTP_PORT` in `command` become free ports.

    One that somebody else started has the `address` of its gRPC port instead of a command.
    """

    name: str
    command: tuple[str, ...] = ()
    needs_flags: tuple[str, ...] = ()  # of sigrun; without them the server is not there
    address: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; without a process, one that somebody else started."""

    name: str
    host: str
    grpc_port: int
    http_port: int
    process: subprocess.Popen[bytes] | None
    log: Path

    def cpu_s(self) -> float | None:
        """Return the CPU time that the server has used, all its processes and threads."""
        if self.process is None:
            return None
        return sum(_cpu_s(stat) for stat in _stats() if _group(stat) == self.process.pid)

    def wait_until_idle(self) -> None:
        """Return when the server rests, so that what is left over disturbs no other."""
        ends_at = time.monotonic() + _IDLE_TIMEOUT_S
        used_s = self.cpu_s()
        while time.monotonic() < ends_at:
            time.sleep(_IDLE_S)
            before_s, used_s = used_s, self.cpu_s()
            if before_s is None or used_s is None or used_s - before_s <= 1 / _TICKS_PER_S:
                return

    def kill(self) -> None:
        """End the server, and whatever it started."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_TIMEOUT_S)


@dataclass(slots=True)
class ServerPool:
    """Servers by what they are. A context manager: leaving it kills them."""

    _servers: dict[ServerSpec, Server] = field(default_factory=dict)

    def __enter__(self) -> ServerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill what was started; whoever asks for it again gets a new one."""
        for server in self._servers.values():
            server.kill()
        self._servers.clear()

    def get(self, spec: ServerSpec) -> Server:
        """Return the server, started now if need be.

        Raises `NotThere` or `DidNotStart`.
        """
        if spec not in self._servers:
            self._servers[spec] = self._start(spec)
        return self._servers[spec]

    def _start(self, spec: ServerSpec) -> Server:
        if spec.address:
            return _find(spec)
        if missing := missing_flags(spec):
            raise NotThere(f"sigrun has no --{', --'.join(missing)}")
        server = launch(spec)
        # sigrun's HTTP port opens at once, its gRPC port when the models are loaded.
        has_grpc = any("GRPC_PORT" in word for word in spec.command)
        port = server.grpc_port if has_grpc else server.http_port
        try:
            wait_for(lambda: accepts(port), server)
        except BaseException:
            server.kill()
            raise
        return server


def missing_flags(spec: ServerSpec) -> list[str]:
    """Return the flags of `spec` that the installed sigrun does not take."""
    return [flag for flag in spec.needs_flags if flag not in sigrun_flags()]


def _find(spec: ServerSpec) -> Server:
    """Return a server that runs already. Raises `DidNotStart` if nobody listens there."""
    host, _, port = spec.address.rpartition(":")
    if not port.isdecimal() or not accepts(int(port), host or LOCALHOST):
        raise DidNotStart(f"nothing listens on {spec.address}; an address is HOST:PORT")
    return Server(spec.name, host or LOCALHOST, int(port), 0, None, Path(os.devnull))


def launch(spec: ServerSpec) -> Server:
    """Start a server and return at once; it is the caller's to kill."""
    ports = {"GRPC_PORT": str(free_port()), "HTTP_PORT": str(free_port())}
    command = spec.command
    for placeholder, port in ports.items():
        command = tuple(word.replace(placeholder, port) for word in command)
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    log = paths.LOGS / f"{''.join(c if c.isalnum() else '-' for c in spec.name)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_dying_with_us(), *command],
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=quiet_environment(),
        )
    numbers = (int(ports["GRPC_PORT"]), int(ports["HTTP_PORT"]))
    return Server(spec.name, LOCALHOST, *numbers, process, log)


def wait_for(condition: Callable[[], bool], server: Server) -> None:
    """Return when `condition()` holds. Raises `DidNotStart` if it never does."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if server.process is not None and server.process.poll() is not None:
            raise DidNotStart(f"it ended: {_complaint(server.log)}; see {server.log}")
        if time.monotonic() > ends_at:
            raise DidNotStart(f"{server.name} did not start within {START_TIMEOUT_S:g} s")
        time.sleep(_POLL_S)


def accepts(port: int, host: str = LOCALHOST) -> bool:
    """Return whether something listens on `port`."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0):
        return True
    return False


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        port: int = listener.getsockname()[1]
        return port


def quiet_environment() -> dict[str, str]:
    """Return an environment in which TensorFlow sees no GPU and every server logs little."""
    settings = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **settings}


@functools.cache
def sigrun_flags() -> frozenset[str]:
    """Return the names of the flags that the installed sigrun takes."""
    text = subprocess.run(
        [SIGRUN, "serve", "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    words = (line.strip().partition("=")[0] for line in text.splitlines())
    return frozenset(word.removeprefix("--") for word in words if word.startswith("--"))


def _dying_with_us() -> Sequence[str]:
    setpriv = shutil.which("setpriv")  # of util-linux
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _stats() -> Iterator[list[str]]:
    """Yield the fields of /proc/PID/stat that follow the command's name, for every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it may have ended by now
                yield (entry / "stat").read_text().rpartition(")")[2].split()


def _group(stat: Sequence[str]) -> int:
    return int(stat[2])


def _cpu_s(stat: Sequence[str]) -> float:
    return (int(stat[11]) + int(stat[12])) / _TICKS_PER_S


def _complaint(log: Path) -> str:
    """Return the last line of `log` that looks like an error, or else its last one."""
    lines = log.read_text(errors="replace").strip().splitlines()
    errors = [line for line in lines if re.search(r"\bERROR\b|Error\b", line)]
    return (errors or lines or ["no output"])[-1]
