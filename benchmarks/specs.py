"""Which servers are compared: sigrun, the ones one would otherwise write, those it stands beside.

Each is a `ServerSpec`; nothing is started or built here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

from benchmarks import paths
from benchmarks.processes import SIGRUN, ServerSpec

_PORTS = ("--port=GRPC_PORT", "--rest_api_port=HTTP_PORT")
CPUS = len(os.sched_getaffinity(0))


def sigrun(name: str, *flags: str, serves: str = "", program: Path = SIGRUN) -> ServerSpec:
    """Return a sigrun with `flags`, for all models or for the one of that name.

    A flag of TensorFlow Serving's that the installed sigrun lacks makes it `NotThere`.
    """
    models = (
        [f"--model_name={serves}", f"--model_base_path={paths.MODELS / serves}"]
        if serves
        else [f"--model_config_file={paths.CONFIG}"]
    )
    return ServerSpec(
        name=name,
        command=(str(program), "serve", *models, *flags, *_PORTS),
        needs_flags=tuple(flag.removeprefix("--").partition("=")[0] for flag in flags),
    )


def batching_sigrun(flags: tuple[str, ...], name: str = "sigrun, batching") -> ServerSpec:
    """Return a sigrun that batches."""
    return sigrun(name, "--enable_batching=true", *flags)


def running(address: str, name: str) -> ServerSpec:
    """Return a server that somebody else started."""
    return ServerSpec(name=f"{name} at {address}", address=address)


def in_process_spec(model: str) -> ServerSpec:
    """Return a process that has sigrun's service table and no sockets of it; see `in_process`."""
    command = (sys.executable, "-m", "benchmarks.in_process", model, "GRPC_PORT")
    return ServerSpec(name=f"{model} in process", command=command)


def _peer(name: str, script: str, port: str) -> ServerSpec:
    command = (sys.executable, str(paths.SERVERS / script), port, str(paths.MODELS))
    return ServerSpec(name=name, command=command)


def watched_sigrun(collector_port: int) -> ServerSpec:
    """Return a sigrun with everything on that watches or guards requests, and what `TOKEN` opens.

    Its log goes to a file, one request in a hundred is traced.
    """
    paths.TOKENS.write_text(
        '[[token]]\nname = "benchmark"\nrights = ["inference"]\n'
        f'sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n'
    )
    spec = sigrun("sigrun, watched", "--access_log=true", f"--auth_tokens_file={paths.TOKENS}")
    environment = (
        f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{collector_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG=0.01",
    )
    return dataclasses.replace(spec, command=("/usr/bin/env", *environment, *spec.command))


TOKEN = "sigrun_of_the_benchmark"  # noqa: S105  # opens a server that lives for minutes
COLLECTOR = _peer("a collector of traces", "collector.py", "HTTP_PORT")
SIGRUN_PLAIN = sigrun("sigrun")
ECHO = _peer("grpc.aio echo", "echo.py", "GRPC_PORT")
USUAL_GRPC = _peer("usual Python handler", "usual_grpc.py", "GRPC_PORT")
FASTAPI = _peer("FastAPI", "fastapi_app.py", "HTTP_PORT")
