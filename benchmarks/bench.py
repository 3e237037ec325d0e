"""What can be measured, and on which servers: a contender prepares once, then gives samples.

In: a pool of servers and how long a round is. Out: one `Sample` per round and contender.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks import load, paths
from benchmarks.bodies import Door
from benchmarks.disturbances import load_and_unload, repeated, send_large_body
from benchmarks.load import Load, LoadFailed, Sample
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

_OPEN_LOOP_RATE = 200.0  # per second: far from full, so that only a standstill makes one wait
_OPEN_LOOP_LENGTH = 2  # times as long as other rounds: its requests are few
_IMPORT_TIMEOUT_S = 120.0


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


def sigrun(name: str, *flags: str, serves: str = "") -> ServerSpec:
    """Return a sigrun with `flags`, for all models or for the one of that name.

    A flag of TensorFlow Serving's that the installed sigrun lacks makes it `NotThere`.
    """
    models = (
        [f"--model_name={serves}", f"--model_base_path={paths.MODELS / serves}"]
        if serves
        else [f"--model_config_file={paths.BUILD / 'models.config'}"]
    )
    ports = ("--port=GRPC_PORT", "--rest_api_port=HTTP_PORT")
    return ServerSpec(
        name=name,
        command=(str(SIGRUN), "serve", *models, *flags, *ports),
        needs_flags=tuple(flag.removeprefix("--").partition("=")[0] for flag in flags),
    )


def write_config() -> None:
    """Write the list of models that sigrun serves."""
    models = "".join(
        f'  config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
        for path in sorted(paths.MODELS.iterdir())
    )
    (paths.BUILD / "models.config").write_text(f"model_config_list {{\n{models}}}\n")


def _peer(name: str, script: str, port: str) -> ServerSpec:
    command = (sys.executable, str(paths.SERVERS / script), port, str(paths.MODELS))
    return ServerSpec(name=name, command=command)


CPUS = len(os.sched_getaffinity(0))
SIGRUN_PLAIN = sigrun("sigrun")
ECHO = _peer("grpc.aio echo", "echo.py", "GRPC_PORT")
USUAL_GRPC = _peer("usual Python handler", "usual_grpc.py", "GRPC_PORT")
FASTAPI = _peer("FastAPI", "fastapi_app.py", "HTTP_PORT")


def closed_loop(spec: ServerSpec, what: Load) -> Contender:
    """Return the throughput and the latencies of a server that is kept busy."""

    def prepare(bench: Bench) -> None:
        server = bench.pool.get(spec)
        load.warm_up(server, what, seconds=bench.warm_up_s)

    def measure(bench: Bench) -> Sample:
        server = bench.pool.get(spec)
        return load.run(server, what, seconds=bench.seconds, warm_up_s=bench.warm_up_s)

    return Contender(label=spec.name, prepare=prepare, measure=measure)


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
        of_server, of_gateway = server.cpu_s(), gateway.cpu_s()
        sample = load.run(gateway, what, seconds=bench.seconds, warm_up_s=bench.warm_up_s)
        of_server, of_gateway = server.cpu_s() - of_server, gateway.cpu_s() - of_gateway
        if not counts_server or sample.cpu_us is None:
            return sample
        return dataclasses.replace(sample, cpu_us=sample.cpu_us * (1 + of_server / of_gateway))

    return Contender(label=label, prepare=prepare, measure=measure)


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


def first_answer() -> Contender:
    """Return the time from starting sigrun to its first answer."""
    spec = sigrun("sigrun, started anew", serves="half_plus_two")

    def measure(_: Bench) -> Sample:
        started_at = time.monotonic()
        server = launch(spec)
        try:
            wait_for_server(lambda: accepts(server.grpc_port), server)
            load.ask(server, "half_plus_two")
            return Sample(seconds=time.monotonic() - started_at)
        finally:
            server.kill()

    return Contender(label="start to first answer", prepare=_once(measure), measure=measure)


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
