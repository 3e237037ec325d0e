"""Load on a server, as a closed loop: so many requests are kept in flight for so long.

In: a server, a request, connections and streams. Out: requests per second, latencies and the
server's CPU time per request. Only answers that end between the warm-up and the end count, so
that requests in flight at either edge favour nobody.

The sender counts a gRPC error as a success, as its HTTP status is 200. So a client first checks
one answer value by value, and the bytes of all answers must then add up to as many of that size.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks import senders
from benchmarks.bodies import PREDICT, Door, body_file, example, json_path
from benchmarks.http_client import post
from benchmarks.processes import Server
from benchmarks.senders import Load, LoadFailed, Requests

_ASK_TIMEOUT_S = 60.0
_MAX_WARM_UP_S, _MAX_SECONDS = 5.0, 10.0
_MAX_ANSWER_BYTES = 64 << 20
_GRPC_FRAME_BYTES = 5  # before each message: a flag, and the size
_HTTP_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one round measured; None for what it did not."""

    requests_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None  # of the server, per request
    call_us: float | None = None  # of one call in process
    seconds: float | None = None
    disturbances: int | None = None  # how often what went on beside it was done


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its size on the wire, and how long it took to come."""

    size: int
    took_s: float


def check_answer(server: Server, load: Load) -> Answer:
    """Ask twice, check the values of the second answer, and return its size and its time."""
    body = body_file(load.model, load.door).read_bytes()
    wanted = example(load.model)
    is_json = load.door is Door.JSON
    check = wanted.check_json if is_json else wanted.check_message
    send = (
        functools.partial(_ask_json, server, load.model, body)
        if is_json
        else functools.partial(_ask_grpc, server, body, load.token)
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
    senders.send(server, load, seconds)
    server.wait_until_idle()


def run(
    server: Server, load: Load, *, seconds: float, warm_up_s: float, may_stretch: bool = True
) -> Sample:
    """Load the server; a slow one for longer, so that its answers can be counted as well.

    Raises `LoadFailed`, also for an answer that is not the expected one.
    """
    answer = check_answer(server, load)
    if may_stretch:
        turn_s = answer.took_s * load.concurrency
        warm_up_s = min(max(warm_up_s, turn_s), max(warm_up_s, _MAX_WARM_UP_S))
        seconds = min(max(seconds, 4 * turn_s), max(seconds, _MAX_SECONDS))
    cpu_before_s = server.cpu_s()
    requests, answer_bytes = senders.send(server, load, seconds + warm_up_s)
    cpu_s = None if cpu_before_s is None else (server.cpu_s() or 0.0) - cpu_before_s
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
        cpu_us=None if cpu_s is None else cpu_s / len(requests.took_us) * 1e6,
    )


def _ask_grpc(server: Server, body: bytes, token: str = "") -> bytes:
    options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=options) as channel:
        call = channel.unary_unary(PREDICT, lambda message: message, lambda reply: reply)
        message = body[_GRPC_FRAME_BYTES:]
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        reply: bytes = call(message, timeout=_ASK_TIMEOUT_S, wait_for_ready=True, metadata=metadata)
    return reply


def _ask_json(server: Server, model: str, body: bytes) -> bytes:
    return post(server.http_port, json_path(model), body)


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
