"""Keep a number of requests in flight, as a process of its own: what h2load does, in Python.

For what h2load cannot send, and where it is not installed. Every answer brings the next request,
on its own connection.

Usage: python -m benchmarks.closed_loop HOST PORT FILE, with a Load as JSON on stdin
Out: one line per answer in FILE, as h2load's log has it (when it was sent, in us; the HTTP status;
how long it took, in us), and on stdout the bytes of all answers; or an error on stderr and exit
status 1.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.bodies import PREDICT, Door, body_file, json_path
from benchmarks.grpc_connection import ConnectionBroken, GrpcConnection
from benchmarks.http_client import Connection

_OK = 200
_OPEN_TIMEOUT_S = 30.0


class Log:
    """What was answered, and until when requests are sent."""

    def __init__(self, seconds: float) -> None:
        self._lines: list[str] = []
        self._ends_at = time.monotonic() + seconds
        self.answer_bytes = 0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def answered(self, began_s: float) -> None:
        """Note an answer to what was sent at `began_s`, by the wall clock."""
        took_us = (time.time() - began_s) * 1e6
        self._lines.append(f"{began_s * 1e6:.0f}\t{_OK}\t{took_us:.0f}\n")

    def write(self, file: Path) -> None:
        file.write_text("".join(self._lines))


class GrpcCaller(asyncio.Protocol):
    """One gRPC connection with `streams` requests in flight; `done` when all are answered."""

    def __init__(self, connection: GrpcConnection, streams: int, log: Log) -> None:
        self._connection = connection
        self._streams = streams
        self._log = log
        self._began_s: dict[int, float] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._connection.to_send())

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        was_open = connection.is_open
        try:
            connection.receive(data)
        except ConnectionBroken as error:
            self._end(error)
            return
        if connection.is_open and not was_open:
            self._send(self._streams)
        answered, connection.answered = connection.answered, []
        for stream in answered:
            self._log.answered(self._began_s.pop(stream))
        if not self._log.is_over:
            self._send(len(answered))
        elif not self._began_s:
            self._end(None)
        if out := connection.to_send():
            self._transport.write(out)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionBroken("the server closed the connection"))

    def _send(self, count: int) -> None:
        now_s = time.time()
        for _ in range(count):
            self._began_s[self._connection.request()] = now_s

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        self._log.answer_bytes += self._connection.data_bytes
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
        self._transport.close()


async def call_grpc(host: str, port: int, load: dict[str, Any], log: Log) -> None:
    """Send gRPC requests until the time is over."""
    loop = asyncio.get_running_loop()
    body = body_file(load["model"], Door[load["door"]]).read_bytes()

    def caller() -> GrpcCaller:
        connection = GrpcConnection(
            f"{host}:{port}", PREDICT, body, changing_timeouts=load["changing_timeouts"]
        )
        return GrpcCaller(connection, load["streams"], log)

    opened = [await loop.create_connection(caller, host, port) for _ in range(load["connections"])]
    await asyncio.gather(*(caller.done for _, caller in opened))


async def call_json(host: str, port: int, load: dict[str, Any], log: Log) -> None:
    """Send JSON requests until the time is over."""
    body = body_file(load["model"], Door.JSON).read_bytes()

    async def call() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        connection = Connection(reader, writer, json_path(load["model"]), body)
        while not log.is_over:
            began_s = time.time()
            log.answer_bytes += await connection.ask()
            log.answered(began_s)
        writer.close()

    await asyncio.gather(*(call() for _ in range(load["connections"])))


def main() -> None:
    """Read the load, run, write what was answered."""
    host, port, file = sys.argv[1:]
    load = json.load(sys.stdin)
    log = Log(load["seconds"])
    call = call_json if load["door"] == Door.JSON.name else call_grpc
    timeout_s = load["seconds"] + _OPEN_TIMEOUT_S
    uvloop.run(asyncio.wait_for(call(host, int(port), load, log), timeout_s))
    log.write(Path(file))
    print(log.answer_bytes)


if __name__ == "__main__":
    main()
