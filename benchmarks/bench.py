"""What can be measured, and on which servers: a contender prepares once, then gives samples.

In: a pool of servers and how long a round is. Out: one `Sample` per round and contender.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import in_process, load, paths, senders
from benchmarks.bodies import Door
from benchmarks.disturbances import load_and_unload, repeated, send_large_body
from benchmarks.load import Sample
from benchmarks.models import LOADED_MODEL
from benchmarks.processes import (
    SIGRUN,
    Server,
    ServerPool,
    ServerSpec,
    accepts,
    launch,
    quiet_environment,
)
from benchmarks.processes import wait_for as wait_for_server
from benchmarks.senders import Load, LoadFailed
from benchmarks.specs import COLLECTOR, in_process_spec, sigrun, watched_sigrun

_OPEN_LOOP_RATE = 200.0  # per second: far from full, so that only a standstill makes one wait
_OPEN_LOOP_LENGTH = 2  # times as long as other rounds: its requests are few
_IMPORT_TIMEOUT_S = 120.0
_EARLIER_S = 0.3  # by which a load begins before the one it is to disturb


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The pool, and the lengths of a round."""

    pool: ServerPool
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side of a comparison.

    `prepare` starts and warms what is measured, and raises `NotThere` if that cannot be had.
    """

    label: str
    prepare: Callable[[Bench], None]
    measure: Callable[[Bench], Sample]


def closed_loop(spec: ServerSpec, what: Load) -> Contender:
    """Return the throughput and the latencies of a server that is kept busy."""

    def prepare(bench: Bench) -> None:
        server = bench.pool.get(spec)
        load.warm_up(server, what, seconds=bench.warm_up_s)

    def measure(bench: Bench) -> Sample:
        server = bench.pool.get(spec)
        return load.run(server, what, seconds=bench.seconds, warm_up_s=bench.warm_up_s)

    return Contender(label=spec.name, prepare=prepare, measure=measure)


def watched(what: Load) -> Contender:
    """Return the same of a server that logs, traces and guards requests."""

    def server(bench: Bench) -> Server:
        return bench.pool.get(watched_sigrun(bench.pool.get(COLLECTOR).http_port))

    def prepare(bench: Bench) -> None:
        load.warm_up(server(bench), what, seconds=bench.warm_up_s)

    def measure(bench: Bench) -> Sample:
        return load.run(server(bench), what, seconds=bench.seconds, warm_up_s=bench.warm_up_s)

    return Contender(label="sigrun, watched", prepare=prepare, measure=measure)


def through_gateway(label: str, spec: ServerSpec, what: Load, *, counts_server: bool) -> Contender:
    """Return what a gateway in front of a server costs; `counts_server`: both of them."""

    def pair(bench: Bench) -> tuple[Server, Server]:
        server = bench.pool.get(spec)
        upstream = f"--upstream=127.0.0.1:{server.grpc_port}"
        command = (str(SIGRUN), "gateway", upstream, "--rest_api_port=HTTP_PORT")
        return server, bench.pool.get(ServerSpec(name="sigrun gateway", command=command))

    def prepare(bench: Bench) -> None:
        load.warm_up(pair(bench)[1], what, seconds=bench.warm_up_s)

    def measure(bench: Bench) -> Sample:
        server, gateway = pair(bench)
        before = (server.cpu_s() or 0.0), (gateway.cpu_s() or 0.0)
        sample = load.run(gateway, what, seconds=bench.seconds, warm_up_s=bench.warm_up_s)
        of_server = (server.cpu_s() or 0.0) - before[0]
        of_gateway = (gateway.cpu_s() or 0.0) - before[1]
        if not counts_server or sample.cpu_us is None:
            return sample
        return dataclasses.replace(sample, cpu_us=sample.cpu_us * (1 + of_server / of_gateway))

    return Contender(label=label, prepare=prepare, measure=measure)


def beside(label: str, spec: ServerSpec, what: Load, other: Load) -> Contender:
    """Return what a server does of one load while another one, of another port, is on it too."""

    def prepare(bench: Bench) -> None:
        server = bench.pool.get(spec)
        for each in (what, other):
            load.warm_up(server, each, seconds=bench.warm_up_s)

    def measure(bench: Bench) -> Sample:
        server = bench.pool.get(spec)
        # The other one begins earlier and ends later, so that every request has company.
        length_s = bench.seconds + bench.warm_up_s + 2 * _EARLIER_S
        with ThreadPoolExecutor(1) as thread:
            company = thread.submit(senders.send, server, other, length_s)
            time.sleep(_EARLIER_S)
            sample = load.run(
                server, what, seconds=bench.seconds, warm_up_s=bench.warm_up_s, may_stretch=False
            )
            company.result()
        return dataclasses.replace(sample, cpu_us=None)  # it is the server's for both

    return Contender(label=label, prepare=prepare, measure=measure)


def in_process_time(label: str, model: str, what: str) -> Contender:
    """Return the time of one call in a process that has no sockets; `what`: see `in_process`."""
    spec = in_process_spec(model)

    def measure(bench: Bench) -> Sample:
        port = bench.pool.get(spec).grpc_port
        return Sample(call_us=in_process.ask(port, what, bench.seconds))

    return Contender(label=label, prepare=_once(measure), measure=measure)


def open_loop(
    label: str,
    spec: ServerSpec,
    what: Load,
    disturb: Callable[[Server], None] | None = None,
) -> Contender:
    """Return the latencies of requests at a fixed rate, while `disturb` goes on beside them."""

    def prepare(bench: Bench) -> None:
        server = bench.pool.get(spec)
        load.check_answer(server, what)
        if disturb is not None:
            disturb(server)

    def measure(bench: Bench) -> Sample:
        server = bench.pool.get(spec)
        if disturb is None:
            sample = _at_fixed_rate(server, what, bench)
        else:
            with repeated(lambda: disturb(server)) as done:
                sample = _at_fixed_rate(server, what, bench)
            sample = dataclasses.replace(sample, disturbances=len(done))
        server.wait_until_idle()
        return sample

    return Contender(label=label, prepare=prepare, measure=measure)


def model_comes_and_goes(server: Server) -> None:
    """Load and unload the 100 MB model."""
    load_and_unload(server.grpc_port, "mlp", LOADED_MODEL)


def large_body_comes(server: Server) -> None:
    """Send 100 MB of JSON."""
    send_large_body(server.http_port)


def first_answer(program: Path = SIGRUN, label: str = "start to first answer") -> Contender:
    """Return the time from starting sigrun to its first answer."""
    spec = sigrun(f"{label}, started anew", serves="half_plus_two", program=program)

    def measure(_: Bench) -> Sample:
        started_at = time.monotonic()
        server = launch(spec)
        try:
            wait_for_server(lambda: accepts(server.grpc_port), server)
            load.ask(server, "half_plus_two")
            return Sample(seconds=time.monotonic() - started_at)
        finally:
            server.kill()

    return Contender(label=label, prepare=_once(measure), measure=measure)


def bare_import() -> Contender:
    """Return how long Python takes to import TensorFlow and end."""

    def measure(_: Bench) -> Sample:
        started_at = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", "import tensorflow"],
            env=quiet_environment(),
            capture_output=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=True,
        )
        return Sample(seconds=time.monotonic() - started_at)

    return Contender(label="import tensorflow", prepare=_once(measure), measure=measure)


def _once(measure: Callable[[Bench], Sample]) -> Callable[[Bench], None]:
    """Measure without keeping the result, so that files are in the system's cache."""

    def prepare(bench: Bench) -> None:
        measure(bench)

    return prepare


def _at_fixed_rate(server: Server, what: Load, bench: Bench) -> Sample:
    is_json = what.door is Door.JSON
    port = server.http_port if is_json else server.grpc_port
    seconds = bench.seconds * _OPEN_LOOP_LENGTH
    arguments = [what.door.name.lower(), port, what.model, _OPEN_LOOP_RATE, seconds]
    try:
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.open_loop", *map(str, arguments)],
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            timeout=seconds + _IMPORT_TIMEOUT_S,
            check=True,
        ).stdout
    except subprocess.TimeoutExpired:
        raise LoadFailed("the requests at a fixed rate were not answered in time") from None
    except subprocess.CalledProcessError as error:
        raise LoadFailed(error.stderr.strip().splitlines()[-1]) from None
    took_ms = json.loads(output)
    p50_ms, p99_ms = np.percentile(took_ms, [50, 99])
    return Sample(p50_ms=float(p50_ms), p99_ms=float(p99_ms))
