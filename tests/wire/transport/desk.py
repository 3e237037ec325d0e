"""An application that echoes, listeners that serve it, and sockets to them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from sigrun.wire.transport.addresses import Address, Tcp
from sigrun.wire.transport.events import Problem, RequestHead, Response
from sigrun.wire.transport.exchange import BodyTooLarge, Exchange
from sigrun.wire.transport.listener import Listener
from sigrun.wire.transport.turns import Turns
from tests.wire.transport.h2_client import HOST, PATIENCE_S, H2Client

MAX_BODY_BYTES = 8 * 1024 * 1024
TEXT = ((b"content-type", b"text/plain"),)


class Echo:
    """Answers with what it is sent, in the way that the path says."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.cancelled: list[bytes] = []
        self.answered = 0
        self.may_go_on = asyncio.Event()  # what `/wait` waits for

    async def serve(self, exchange: Exchange) -> None:
        path, _, number = exchange.head.target.partition(b"?")
        self.begun.append(exchange.head.target)
        try:
            await _PATHS.get(path, Echo._missing)(self, exchange, int(number or 0))
        except asyncio.CancelledError:
            self.cancelled.append(exchange.head.target)
            raise
        except BodyTooLarge as error:
            exchange.respond(Response(413, TEXT, str(error).encode()))
        self.answered += 1

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        status = {Problem.MALFORMED: 400, Problem.TOO_SLOW: 408}.get(problem, 503)
        return Response(status, TEXT, f"{problem.name}: {text}".encode())

    async def _echo(self, exchange: Exchange, _: int) -> None:
        body = await exchange.read(MAX_BODY_BYTES)
        trailers = ((b"grpc-status", b"0"),) if exchange.head.version == b"2" else None
        exchange.respond(Response(200, TEXT, body, trailers))

    async def _call(self, exchange: Exchange, _: int) -> None:
        """Echo a message as gRPC has it."""
        await asyncio.sleep(0.001)
        body = await exchange.read(MAX_BODY_BYTES)
        headers = ((b"content-type", b"application/grpc"),)
        exchange.respond(Response(200, headers, body, ((b"grpc-status", b"0"),)))

    async def _peer(self, exchange: Exchange, _: int) -> None:
        text = f"{exchange.peer} {'secure' if exchange.is_secure else 'plain'}"
        exchange.respond(Response(200, TEXT, text.encode()))

    async def _large(self, exchange: Exchange, size: int) -> None:
        exchange.respond(Response(200, TEXT, b"x" * size))

    async def _slow(self, exchange: Exchange, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
        await self._echo(exchange, 0)

    async def _wait(self, exchange: Exchange, _: int) -> None:
        await self.may_go_on.wait()
        exchange.respond(Response(200, TEXT, b"went on"))

    async def _pieces(self, exchange: Exchange, _: int) -> None:
        await exchange.start(200, TEXT)
        async for piece in exchange.pieces():
            await exchange.write(piece)
        exchange.finish(((b"grpc-status", b"0"),) if exchange.head.version == b"2" else None)

    async def _flood(self, exchange: Exchange, pieces: int) -> None:
        await exchange.start(200, TEXT)
        for _ in range(pieces):
            await exchange.write(bytes(10_000))
        exchange.finish()

    async def _busy(self, exchange: Exchange, us: int) -> None:
        work(us)
        exchange.respond(Response(200, TEXT, b"done"))

    async def _busy_echo(self, exchange: Exchange, us: int) -> None:
        work(us)
        await self._echo(exchange, 0)

    async def _fail(self, exchange: Exchange, _: int) -> None:
        raise LookupError("on purpose")

    async def _missing(self, exchange: Exchange, _: int) -> None:
        exchange.respond(Response(404, TEXT, b"there is nothing here"))


def work(us: int) -> None:
    """Hold the loop, as a small model does that runs on it."""
    end = time.thread_time() + us / 1e6
    while time.thread_time() < end:
        pass


_PATHS: dict[bytes, Callable[[Echo, Exchange, int], Any]] = {
    b"/echo": Echo._echo,
    b"/echo.Echo/Call": Echo._call,
    b"/peer": Echo._peer,
    b"/large": Echo._large,
    b"/slow": Echo._slow,
    b"/wait": Echo._wait,
    b"/pieces": Echo._pieces,
    b"/flood": Echo._flood,
    b"/busy": Echo._busy,
    b"/busy_echo": Echo._busy_echo,
    b"/fail": Echo._fail,
}


class Desk:
    """Makes listeners that share their turns, and sockets to them."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.application = Echo()
        self._listeners: list[Listener] = []
        self._clients: list[H2Client] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self, *where: Address, door: str = "http", **options: Any) -> Listener:
        listener = Listener(
            options.pop("application", self.application),
            where or (Tcp(HOST, 0),),
            door=door,
            turns=self.turns,
            **options,
        )
        self._listeners.append(listener)
        await listener.start()
        return listener

    async def connect(
        self, listener: Listener, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(HOST, listener.port, **options)
        self._writers.append(writer)
        return reader, writer

    async def http2(
        self, listener: Listener, *, tls: ssl.SSLContext | None = None, takes_data: bool = True
    ) -> H2Client:
        client = H2Client(takes_data=takes_data)
        self._clients.append(client)
        return await client.connect(listener.port, tls=tls)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        for writer in self._writers:
            writer.transport.abort()
        for listener in self._listeners:
            await listener.stop(0)


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    """Return a request of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of an answer of HTTP/1.1 that says its length."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(line for line in lines if line.startswith("content-length:"))
        body = await reader.readexactly(int(length.split(":")[1]))
    return int(lines[0].split()[1]), body


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def watched(most_s: float) -> AsyncIterator[None]:
    """Fail if the loop works for longer than that without looking around.

    It is the time of this thread that counts, not what others do on the machine meanwhile.
    """
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.01)
            longest = max(longest, time.thread_time() - before)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
    assert longest < most_s
