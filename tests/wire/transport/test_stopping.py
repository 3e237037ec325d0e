"""Stopping: what was sent is answered, and the rest is told so, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from sigrun.wire.transport.exchange import Exchange
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.listener import Listener
from tests.wire.transport.desk import Desk, Echo, read_answer, request, until
from tests.wire.transport.h2_client import HOST, PATIENCE_S, H2Client

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

LIMITS = Limits(tick_s=0.02, drain_idle_s=0.1, drain_ping_s=0.2)


class Callers:
    """Clients that call without a pause until the server says goodbye."""

    def __init__(self, listener: Listener, path: str) -> None:
        self._listener, self._path = listener, path
        self.answered = 0
        self.lost: list[str] = []

    async def call_http1(self) -> None:
        reader, writer = await asyncio.open_connection(HOST, self._listener.port)
        with contextlib.closing(writer):
            while True:
                writer.write(request(self._path, b"body"))
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError) as error:
                    self.lost.append(f"HTTP/1.1: {error!r}")
                    return
                assert head.startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(4) == b"body"
                self.answered += 1
                if b"connection: close" in head.lower():
                    return

    async def call_http2(self) -> None:
        client = await H2Client().connect(self._listener.port)
        await asyncio.gather(*(self._call(client) for _ in range(8)))
        last_stream = min((last for last, _ in client.goaways), default=2**31)
        for stream, answer in client.answers.items():
            if answer.body != b"body" and stream <= last_stream:
                self.lost.append(f"HTTP/2: {stream} of {last_stream}: {answer}")
        await client.close()

    async def _call(self, client: H2Client) -> None:
        while client.may_begin:
            answer = await client.ask(self._path, b"body")
            self.answered += answer.body == b"body"


@pytest.mark.parametrize("path", ["/echo", "/slow?5", "/busy_echo?200"])
@pytest.mark.parametrize("spoken", ["http1", "http2", "both"])
async def test_nothing_that_was_sent_is_lost(desk: Desk, spoken: str, path: str) -> None:
    for _ in range(3):
        listener = await desk.listen(limits=LIMITS)
        callers = Callers(listener, path)
        calls: list[Callable[[], Awaitable[None]]] = []
        if spoken != "http2":
            calls += [callers.call_http1] * 16
        if spoken != "http1":
            calls += [callers.call_http2] * 4
        tasks = [asyncio.ensure_future(call()) for call in calls]
        await until(lambda: callers.answered > 100)  # noqa: B023

        await listener.stop(PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*tasks)

        assert callers.lost == []
        assert callers.answered > 100


async def test_who_had_connected_before_is_answered(desk: Desk) -> None:
    listener = await desk.listen(limits=LIMITS)
    port = listener.port
    before = [await asyncio.open_connection(HOST, port) for _ in range(3)]
    for _, writer in before:
        writer.write(request("/echo", b"abc"))  # not read by the server yet

    stopping = asyncio.create_task(listener.stop(PATIENCE_S))

    for reader, writer in before:
        assert await read_answer(reader) == (200, b"abc")
        writer.close()
    await stopping
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(HOST, port)


async def test_idle_connections_hold_up_nothing(desk: Desk) -> None:
    listener = await desk.listen(limits=LIMITS)
    client = await desk.http2(listener)
    reader, writer = await desk.connect(listener)
    silent, _ = await desk.connect(listener)
    writer.write(request("/echo", b"abc"))
    await read_answer(reader)
    await client.ask("/echo", b"abc")

    async with asyncio.timeout(3):
        await listener.stop(60)

    assert await reader.read() == b""
    with contextlib.suppress(ConnectionError):
        assert await silent.read() == b""
    await client.is_closed.wait()
    assert [code for _, code in client.goaways] == [0, 0]


async def test_without_connections_it_stops_at_once(desk: Desk) -> None:
    listener = await desk.listen()

    async with asyncio.timeout(1):
        await listener.stop(60)
        await listener.stop(60)


async def test_who_is_not_answered_in_time_is_told_so(desk: Desk) -> None:
    listener = await desk.listen(limits=LIMITS)
    client = await desk.http2(listener)
    reader, writer = await desk.connect(listener)
    stream = client.begin("/wait")
    writer.write(request("/wait"))
    await until(lambda: len(desk.application.begun) == 2)

    async with asyncio.timeout(2):
        await listener.stop(0.1)

    assert await read_answer(reader) == (503, b"STOPPING: The server is stopping")
    answer = await client.answer(stream)
    assert (answer.status, answer.body) == (503, b"STOPPING: The server is stopping")
    await until(lambda: len(desk.application.cancelled) == 2)


async def test_who_takes_nothing_is_cut_off(desk: Desk) -> None:
    listener = await desk.listen(limits=LIMITS)
    shut = await desk.http2(listener, takes_data=False)
    shut.begin("/flood?100000")
    _, writer = await desk.connect(listener)
    writer.write(request("/large?8000000") * 3)
    _, stubborn = await desk.connect(listener, limit=1000)
    stubborn.write(request("/flood?100000"))
    await until(lambda: len(desk.application.begun) >= 3)

    async with asyncio.timeout(3):
        await listener.stop(0.1)

    await until(lambda: listener.statistics().connections == 0)


async def test_an_application_that_does_not_end_holds_up_nothing(desk: Desk) -> None:
    class Stubborn(Echo):
        async def serve(self, exchange: Exchange) -> None:
            while not done.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await done.wait()

    done = asyncio.Event()
    listener = await desk.listen(limits=LIMITS, application=Stubborn())
    reader, writer = await desk.connect(listener)
    writer.write(request("/"))
    await until(lambda: listener.statistics().requests == 1)

    async with asyncio.timeout(2):
        await listener.stop(0.1)

    assert (await read_answer(reader))[0] == 503
    done.set()


async def test_other_listeners_go_on(desk: Desk) -> None:
    first, second = await desk.listen(limits=LIMITS), await desk.listen(door="grpc", limits=LIMITS)
    client = await desk.http2(second)

    await first.stop(1)

    assert (await client.ask("/echo", b"abc")).body == b"abc"
