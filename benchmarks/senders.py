"""Who sends the requests of a closed loop: h2load, or where it cannot, a client of our own.

In: a server, a load, a time. Out: every request that was answered, and the bytes of all answers.
Both run as processes beside the server and write the same log.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import paths
from benchmarks.bodies import PREDICT, Door, body_file, json_path
from benchmarks.processes import NotThere, Server

_GRACE_S = 40.0  # for the sender, beyond the time it was given


class LoadFailed(Exception):
    """Not every request was answered well, so that there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent, and how much of it at the same time."""

    model: str
    door: Door
    connections: int
    streams: int = 1  # per connection; HTTP/1.1 has one
    changing_timeouts: bool = False  # a `grpc-timeout` that differs from call to call
    token: str = ""  # shown to a server that asks for one

    @property
    def concurrency(self) -> int:
        return self.connections * self.streams


@dataclass(frozen=True, slots=True)
class Requests:
    """Every request that was answered, as columns."""

    began_us: np.ndarray
    status: np.ndarray  # of HTTP; -1 if there was none
    took_us: np.ndarray


@functools.cache
def h2load() -> str | None:
    """Return where h2load is, or None."""
    return shutil.which("h2load")


def description() -> str:
    """Return by what requests are sent, for the output."""
    if h2load() is None:
        return "a client in Python (h2load is not installed)"
    found = re.search(r"\S+$", _output([str(h2load()), "--version"], "", _GRACE_S).strip())
    return f"h2load {found[0] if found else ''}; changing timeouts: a client in Python"


def send(server: Server, load: Load, seconds: float) -> tuple[Requests, int]:
    """Return the requests that were answered, and the bytes of all answers."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        if h2load() is None and load.token:
            raise NotThere("h2load, which alone shows a token")
        if h2load() is None or load.changing_timeouts:
            answer_bytes = _send_from_python(server, load, seconds, log)
        else:
            answer_bytes = _send_from_h2load(server, load, seconds, log)
        return _read(log), answer_bytes


def _send_from_h2load(server: Server, load: Load, seconds: float, log: Path) -> int:
    is_json = load.door is Door.JSON
    path = json_path(load.model) if is_json else PREDICT
    content_type = "application/json" if is_json else "application/grpc"
    command = [
        str(h2load()),
        *("-D", f"{round(seconds * 1000)}ms"),
        *("-c", str(load.connections)),
        *(["--h1"] if is_json else ["-m", str(load.streams), "-H", "te: trailers"]),
        *("-H", f"content-type: {content_type}"),
        *(("-H", f"authorization: Bearer {load.token}") if load.token else ()),
        *("-d", str(body_file(load.model, load.door))),
        f"--log-file={log}",
        f"http://{server.host}:{_port(server, load)}{path}",
    ]
    found = re.search(r"\((\d+)\) data", _output(command, "", seconds + _GRACE_S))
    return int(found[1]) if found else 0


def _send_from_python(server: Server, load: Load, seconds: float, log: Path) -> int:
    what = {
        "model": load.model,
        "door": load.door.name,
        "connections": load.connections,
        "streams": load.streams,
        "changing_timeouts": load.changing_timeouts,
        "seconds": seconds,
    }
    place = (server.host, str(_port(server, load)), str(log))
    command = [sys.executable, "-m", "benchmarks.closed_loop", *place]
    return int(_output(command, json.dumps(what), seconds + _GRACE_S))


def _port(server: Server, load: Load) -> int:
    return server.http_port if load.door is Door.JSON else server.grpc_port


def _output(command: Sequence[str], text: str, timeout_s: float) -> str:
    try:
        return subprocess.run(
            command,
            input=text,
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
        ).stdout
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"the requests took longer than {timeout_s:g} s") from None
    except subprocess.CalledProcessError as error:
        complaint = error.stderr.strip() or error.stdout.strip() or "?"
        raise LoadFailed(f"the sender: {complaint.splitlines()[-1]}") from None


def _read(log: Path) -> Requests:
    if not log.exists() or not log.stat().st_size:
        return Requests(*np.empty((3, 0), np.int64))
    return Requests(*np.loadtxt(log, dtype=np.int64, ndmin=2).T)
