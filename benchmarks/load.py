"""Load on a server, as a closed loop: h2load keeps so many requests in flight for so long.

In: a server, a request, connections and streams. Out: requests per second, latencies and the
server's CPU time per request. Only answers that end between the warm-up and the end count, so
that requests in flight at either edge favour nobody.

h2load counts a gRPC error as a success, as its HTTP status is 200. So a client first checks one
answer value by value, and the bytes of all answers must then add up to as many of that size.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from benchmarks.bodies import PREDICT, Door, body_file, example, json_path
from benchmarks.http_client import post
from benchmarks.processes import Server

_GRACE_S = 30.0  # for h2load, beyond the time it was given
_ASK_TIMEOUT_S = 60.0
_MAX_WARM_UP_S, _MAX_SECONDS = 5.0, 10.0
_MAX_ANSWER_BYTES = 64 << 20
_GRPC_FRAME_BYTES = 5  # before each message: a flag, and the size
_HTTP_OK = 200


class LoadFailed(Exception):
    """Not every request was answered well, so that there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent, and how much of it at the same time."""

    model: str
    door: Door
    connections: int
    streams: int = 1  # per connection; HTTP/1.1 has one

    @property
    def concurrency(self) -> int:
        return self.connections * self.streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round measured; None for what it did not."""

    requests_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None  # of the server, per request
    seconds: float | None = None
    disturbances: int | None = None  # how often what went on beside it was done


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its size on the wire, and how long it took to come."""

    size: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Requests:
    """Every request that was answered, as columns."""

    began_us: np.ndarray
    status: np.ndarray  # of HTTP; -1 if there was none
    took_us: np.ndarray


def load_tool() -> str | None:
    """Return where h2load is, or None."""
    return shutil.which("h2load")


def check_answer(server: Server, load: Load) -> Answer:
    """Ask twice, check the values of the second answer, and return its size and its time."""
    body = body_file(load.model, load.door).read_bytes()
    wanted = example(load.model)
    is_json = load.door is Door.JSON
    check = wanted.check_json if is_json else wanted.check_message
    send = (
        functools.partial(_ask_json, server, load.model, body)
        if is_json
        else functools.partial(_ask_grpc, server, body)
    )
    send()
    started_at = time.monotonic()
    answer = send()
    took_s = time.monotonic() - started_at
    check(answer)
    return Answer(len(answer) + (0 if is_json else _GRPC_FRAME_BYTES), took_s)


def ask(server: Server, model: str) -> None:
    """Ask once, on gRPC, and check the answer."""
    example(model).check_message(_ask_grpc(server, body_file(model, Door.GRPC).read_bytes()))


def warm_up(server: Server, load: Load, *, seconds: float) -> None:
    """Load the server for a while. Raises `LoadFailed` for a wrong answer."""
    check_answer(server, load)
    _h2load(server, load, seconds)
    server.wait_until_idle()


def run(server: Server, load: Load, *, seconds: float, warm_up_s: float) -> Sample:
    """Load the server. Raises `LoadFailed`, also for an answer that is not the expected one."""
    answer = check_answer(server, load)
    # A slow server gets longer rounds, so that its answers can be counted as well.
    turn_s = answer.took_s * load.concurrency
    warm_up_s = min(max(warm_up_s, turn_s), max(warm_up_s, _MAX_WARM_UP_S))
    seconds = min(max(seconds, 4 * turn_s), max(seconds, _MAX_SECONDS))
    cpu_before_s = server.cpu_s()
    requests, answer_bytes = _h2load(server, load, seconds + warm_up_s)
    cpu_s = server.cpu_s() - cpu_before_s
    server.wait_until_idle()
    _check_all(requests, answer_bytes, load, answer)
    ended_us = requests.began_us + requests.took_us
    opens_us = requests.began_us.min() + warm_up_s * 1e6
    is_counted = (ended_us >= opens_us) & (ended_us < opens_us + seconds * 1e6)
    counted_us = requests.took_us[is_counted]
    if not len(counted_us):
        raise LoadFailed(f"no answer within {seconds:g} s")
    p50_us, p99_us = np.percentile(counted_us, [50, 99])
    return Sample(
        requests_per_s=len(counted_us) / seconds,
        p50_ms=p50_us / 1e3,
        p99_ms=p99_us / 1e3,
        cpu_us=cpu_s / len(requests.took_us) * 1e6,
    )


def _ask_grpc(server: Server, body: bytes) -> bytes:
    options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options) as channel:
        call = channel.unary_unary(PREDICT, lambda message: message, lambda reply: reply)
        message = body[_GRPC_FRAME_BYTES:]
        reply: bytes = call(message, timeout=_ASK_TIMEOUT_S, wait_for_ready=True)
    return reply


def _ask_json(server: Server, model: str, body: bytes) -> bytes:
    return post(server.http_port, json_path(model), body)


def _h2load(server: Server, load: Load, duration_s: float) -> tuple[Requests, int]:
    """Return the requests that were answered, and the bytes of all answers."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        summary = _output(_command(server, load, duration_s, log), duration_s + _GRACE_S)
        found = re.search(r"\((\d+)\) data", summary)
        return _read(log), int(found[1]) if found else 0


def _command(server: Server, load: Load, duration_s: float, log: Path) -> list[str]:
    is_json = load.door is Door.JSON
    port = server.http_port if is_json else server.grpc_port
    content_type = "application/json" if is_json else "application/grpc"
    return [
        str(load_tool()),
        *("-D", f"{round(duration_s * 1000)}ms"),
        *("-c", str(load.connections)),
        *(["--h1"] if is_json else ["-m", str(load.streams), "-H", "te: trailers"]),
        *("-H", f"content-type: {content_type}"),
        *("-d", str(body_file(load.model, load.door))),
        f"--log-file={log}",
        f"http://127.0.0.1:{port}{json_path(load.model) if is_json else PREDICT}",
    ]


def _output(command: Sequence[str], timeout_s: float) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=True
        ).stdout
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"h2load took longer than {timeout_s:g} s") from None
    except subprocess.CalledProcessError as error:
        raise LoadFailed(f"h2load: {error.stderr.strip() or error.stdout.strip()}") from None


def _read(log: Path) -> Requests:
    if not log.exists() or not log.stat().st_size:
        return Requests(*np.empty((3, 0), np.int64))
    return Requests(*np.loadtxt(log, dtype=np.int64, ndmin=2).T)


def _check_all(requests: Requests, answer_bytes: int, load: Load, answer: Answer) -> None:
    count = len(requests.status)
    if not count:
        raise LoadFailed("no answer at all")
    bad = int(np.sum(requests.status != _HTTP_OK))
    if bad:
        raise LoadFailed(f"{bad} of {count} answers were not HTTP 200")
    # What was in flight at the end may have arrived. JSON tells errors by its status, and its
    # numbers are longer or shorter by a digit.
    good = answer_bytes / answer.size
    is_good = count <= good <= count + load.concurrency
    if load.door is not Door.JSON and not is_good:
        raise LoadFailed(f"{count} requests brought the bytes of {good:.1f} good answers")
