"""What the transport costs by itself: a unary gRPC echo, beside the same echo on grpc.aio.

    .venv/bin/python -m benchmarks.transport_echo [--rounds 3] [--shape 8x8] [--http1]

Both servers send back the bytes they get, on uvloop, with nothing in between: no protobuf, no
model, no gRPC service on top of our transport but one header and one trailer. h2load sends a
message of 46 bytes, so many connections by so many streams. Each round asks one server after
the other; what is printed are medians over the rounds: answers per second, the server's CPU
time for each, and the ratios within each round, which hold on a busy machine too.

With `--http1`, a POST of 46 bytes over HTTP/1.1 is measured as well, beside no one.

`serve NAME PORT` is how it starts its servers; add `--profile SECONDS` to see where the time goes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from sigrun.wire.transport.addresses import Tcp
from sigrun.wire.transport.events import Problem, RequestHead, Response
from sigrun.wire.transport.exchange import Exchange
from sigrun.wire.transport.listener import Listener
from sigrun.wire.transport.turns import Turns

HOST = "127.0.0.1"
SHAPES = ("1x1", "8x8", "4x16")
MESSAGE = bytes(range(46))
BODY = b"\0" + len(MESSAGE).to_bytes(4, "big") + MESSAGE
START_TIMEOUT_S = 30.0
ROUND_S = 2.0

_HEADERS = ((b"content-type", b"application/grpc"),)
_TRAILERS = ((b"grpc-status", b"0"),)


class Echo:
    """The smallest application there is."""

    async def serve(self, exchange: Exchange) -> None:
        body = await exchange.read(1 << 22)
        trailers = _TRAILERS if exchange.head.version == b"2" else None
        exchange.respond(Response(200, _HEADERS, body, trailers))

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        return Response(503, (), text.encode())


async def serve_ours(port: int) -> None:
    gc.collect()
    gc.freeze()
    listener = Listener(Echo(), [Tcp(HOST, port)], door="echo", turns=Turns())
    await listener.start()
    await asyncio.Event().wait()


async def serve_grpc_aio(port: int) -> None:
    async def echo(request: bytes, _: Any) -> bytes:
        return request

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(echo)

    gc.collect()
    gc.freeze()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


SERVERS = {"ours": serve_ours, "grpc.aio": serve_grpc_aio}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs as a process of its own."""

    name: str
    pid: int
    port: int

    def cpu_s(self) -> float:
        """Return how long it has used processors, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(name: str) -> Iterator[Server]:
    """Start a server, and kill it at the end."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.transport_echo", "serve", name, str(port)]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(port)
            yield Server(name, process.pid, port)
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((HOST, port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Figures:
    """Answers per second, and microseconds of the server's CPU time for each."""

    per_s: float
    cpu_us: float


def load(server: Server, shape: str, body: Path, *, http1: bool = False) -> Figures:
    """Ask a server for about `ROUND_S`."""
    few = ask(server, 500, shape, body, http1=http1)
    return ask(server, max(500, int(few.per_s * ROUND_S)), shape, body, http1=http1)


def ask(server: Server, times: int, shape: str, body: Path, *, http1: bool) -> Figures:
    """Ask a server so many times. Raises `RuntimeError` if not every answer is one."""
    connections, streams = shape.split("x")
    command = ["h2load", "-n", str(times), "-c", connections, "-m", streams, "-d", str(body)]
    command += ["--h1"] if http1 else ["-H", "te: trailers"]
    command += ["-H", "content-type: application/grpc", f"http://{HOST}:{server.port}/a.B/C"]
    cpu_s = server.cpu_s()
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    cpu_s = server.cpu_s() - cpu_s
    rate = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", output)
    if rate is None or f" {times} succeeded, 0 failed" not in output:
        raise RuntimeError(f"{server.name} did not answer well:\n{output}")
    return Figures(float(rate[1]), 1e6 * cpu_s / times)


def compare(shapes: Sequence[str], rounds: int, *, http1: bool) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started(name)) for name in SERVERS]
        file = stack.enter_context(tempfile.NamedTemporaryFile())
        body = Path(file.name)
        body.write_bytes(BODY)
        for shape in shapes:
            seen: dict[str, list[Figures]] = {name: [] for name in SERVERS}
            for _ in range(rounds):
                for server in servers:
                    seen[server.name].append(load(server, shape, body))
            _print(shape, seen)
        if http1:
            figures = [load(servers[0], "16x1", body, http1=True) for _ in range(rounds)]
            print(f"HTTP/1.1 16x1: {_text(figures)}")


def _print(shape: str, seen: dict[str, list[Figures]]) -> None:
    pairs = list(zip(seen["ours"], seen["grpc.aio"], strict=True))
    faster = statistics.median(ours.per_s / theirs.per_s for ours, theirs in pairs)
    cheaper = statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs)
    texts = "; ".join(f"{name} {_text(figures)}" for name, figures in seen.items())
    print(f"{shape}: {texts}; {faster:.1f}x the answers, 1/{cheaper:.1f} of the CPU", flush=True)


def _text(figures: Sequence[Figures]) -> str:
    per_s = statistics.median(each.per_s for each in figures)
    cpu_us = statistics.median(each.cpu_us for each in figures)
    return f"{per_s:,.0f}/s, {cpu_us:.0f} us"


def serve(name: str, port: int, profile_s: float) -> None:
    """Serve until the process is killed, or profile and print what took the time."""
    server: Coroutine[Any, Any, None] = SERVERS[name](port)
    if not profile_s:
        uvloop.run(server)
        return
    with cProfile.Profile() as profile, suppress(TimeoutError):
        uvloop.run(asyncio.wait_for(server, profile_s))
    pstats.Stats(profile).sort_stats("tottime").print_stats(80)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", action="append", help="connections x streams; several times")
    parser.add_argument("--http1", action="store_true")
    commands = parser.add_subparsers(dest="command")
    serving = commands.add_parser("serve")
    serving.add_argument("name", choices=SERVERS)
    serving.add_argument("port", type=int)
    serving.add_argument("--profile", type=float, default=0.0, metavar="SECONDS")
    arguments = parser.parse_args()
    if arguments.command == "serve":
        serve(arguments.name, arguments.port, arguments.profile)
    elif shutil.which("h2load") is None:
        parser.error("it needs h2load, of Debian's package nghttp2-client")
    else:
        compare(arguments.shape or SHAPES, arguments.rounds, http1=arguments.http1)


if __name__ == "__main__":
    main()
