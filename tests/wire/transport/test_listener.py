"""A listener and its connections, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sigrun.errors import Unavailable
from sigrun.wire.transport.addresses import Tcp, Unix
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.service import Spoken
from tests.wire.transport.desk import Desk, read_answer, request, until, watched
from tests.wire.transport.h2_client import HOST, H2Client

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


class TestHttp1:
    async def test_a_request_is_answered(self, desk: Desk) -> None:
        listener = await desk.listen()
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{listener.port}") as http:
            answer = await http.post("/echo", content=b"hello")
            missing = await http.get("/nowhere")

        assert (answer.status_code, answer.content) == (200, b"hello")
        assert missing.status_code == 404

    async def test_a_connection_serves_one_request_after_the_other(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        for n in range(5):
            writer.write(request("/echo", b"%d" % n))
            assert await read_answer(reader) == (200, b"%d" % n)

        assert listener.statistics().accepted == 1

    async def test_a_head_of_single_bytes_is_read(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        for byte in request("/echo", b"abc"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

        assert await read_answer(reader) == (200, b"abc")

    async def test_pipelined_requests_are_answered_in_their_order(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)
        bodies = [b"%d" % n for n in range(100)]

        writer.write(b"".join(request(f"/slow?{n % 3}", b"%d" % n) for n in range(100)))

        assert [await read_answer(reader) for _ in bodies] == [(200, body) for body in bodies]

    async def test_thousands_of_pipelined_requests_hold_up_nobody(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        async with watched(0.5):
            writer.write(request("/echo", b"x") * 5000)
            for _ in range(5000):
                assert await read_answer(reader) == (200, b"x")

    async def test_a_large_body_and_a_large_answer_go_through(self, desk: Desk) -> None:
        listener = await desk.listen()
        body = os.urandom(5_000_000)
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{listener.port}") as http:
            answer = await http.post("/echo", content=body)

        assert answer.content == body

    async def test_a_body_in_chunks_is_echoed_in_chunks(self, desk: Desk) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for n in range(10):
                yield b"%d" % n * 1000
                await asyncio.sleep(0.001)

        listener = await desk.listen()
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{listener.port}") as http:
            answer = await http.post("/pieces", content=pieces())

        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.content == b"".join(b"%d" % n * 1000 for n in range(10))

    async def test_a_client_that_asks_first_is_told_to_go_on(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        writer.write(request("/echo", b"", "expect: 100-continue").replace(b": 0", b": 3"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")

        assert await read_answer(reader) == (200, b"abc")

    async def test_a_client_that_closes_its_side_gets_what_is_answered_at_once(
        self, desk: Desk
    ) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        writer.write(request("/echo", b"abc"))
        writer.write_eof()

        assert await read_answer(reader) == (200, b"abc")
        assert await reader.read() == b""

    async def test_what_is_no_http_is_refused_and_the_connection_closed(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")

        status, body = await read_answer(reader)
        assert (status, body[:9]) == (400, b"MALFORMED")
        assert await reader.read() == b""

    async def test_a_refusal_is_read_though_the_client_still_sends(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        writer.write(request("/echo").replace(b": 0", b": 90000000"))
        for _ in range(100):
            writer.write(bytes(100_000))
            await asyncio.sleep(0)

        assert (await read_answer(reader))[0] == 413

    async def test_a_client_that_leaves_cancels_its_request(self, desk: Desk) -> None:
        listener = await desk.listen()
        _, writer = await desk.connect(listener)
        writer.write(request("/wait"))
        await until(lambda: bool(desk.application.begun))

        writer.transport.abort()

        await until(lambda: desk.application.cancelled == [b"/wait"])
        await until(lambda: listener.statistics().connections == 0)

    async def test_an_application_that_fails_is_answered_for(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        writer.write(request("/fail") + request("/echo", b"abc"))

        assert (await read_answer(reader))[0] == 500
        assert await read_answer(reader) == (200, b"abc")
        assert "on purpose" in caplog.text


class TestHttp2:
    async def test_a_call_is_answered_with_trailers(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)

        answer = await client.ask("/echo", b"hello")

        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.trailers == {"grpc-status": "0"}

    async def test_many_calls_are_in_flight_on_one_connection(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)

        answers = await asyncio.gather(
            *(client.ask(f"/slow?{n % 7}", b"%d" % n) for n in range(100))
        )

        assert [bytes(answer.body) for answer in answers] == [b"%d" % n for n in range(100)]
        assert listener.statistics().accepted == 1

    async def test_large_bodies_go_both_ways_through_the_windows(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        body = os.urandom(3_000_000)

        answer = await client.ask("/echo", body)

        assert answer.body == body

    async def test_both_sides_stream(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        stream = client.begin("/pieces", ends=False)
        answer = client.answers[stream]

        for n in range(1, 4):
            await client.send(stream, b"%d" % n, ends=False)
            await until(lambda n=n: len(answer.body) == n)  # type: ignore[misc]
        await client.send(stream, b"", ends=True)
        await client.answer(stream)

        assert (answer.body, answer.trailers) == (b"123", {"grpc-status": "0"})

    async def test_a_reset_cancels_the_call_and_nothing_else(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        waiting = client.begin("/wait")
        await until(lambda: bool(desk.application.begun))

        client.reset(waiting)

        await until(lambda: desk.application.cancelled == [b"/wait"])
        assert (await client.ask("/echo", b"still here")).body == b"still here"

    async def test_a_client_that_leaves_cancels_all_its_calls(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        for _ in range(10):
            client.begin("/wait")
        await until(lambda: len(desk.application.begun) == 10)

        await client.close()

        await until(lambda: len(desk.application.cancelled) == 10)

    async def test_an_application_that_fails_is_answered_for(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)

        assert (await client.ask("/fail")).status == 500
        assert "on purpose" in caplog.text


class TestWhatIsSpoken:
    async def test_one_port_serves_both(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        reader, writer = await desk.connect(listener)

        writer.write(request("/echo", b"one"))

        assert await read_answer(reader) == (200, b"one")
        assert (await client.ask("/echo", b"two")).body == b"two"

    async def test_a_port_may_serve_http2_alone(self, desk: Desk) -> None:
        listener = await desk.listen(spoken=[Spoken.HTTP2])
        reader, writer = await desk.connect(listener)

        writer.write(request("/echo"))
        await reader.read()  # its settings and its goodbye

        assert desk.application.begun == []

    async def test_a_port_may_serve_http1_alone(self, desk: Desk) -> None:
        listener = await desk.listen(spoken=[Spoken.HTTP1])
        reader, writer = await desk.connect(listener)

        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

        assert (await read_answer(reader))[0] >= 400


class TestAddresses:
    async def test_who_asks_is_named(self, desk: Desk) -> None:
        listener = await desk.listen(Tcp("::", 0))
        reader, writer = await desk.connect(listener)
        writer.write(request("/peer"))

        _, body = await read_answer(reader)

        own = writer.get_extra_info("sockname")
        assert body.decode() == f"{own[0]}:{own[1]} plain"

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
    async def test_every_address_means_those_of_ipv6_and_ipv4(self, desk: Desk) -> None:
        listener = await desk.listen(Tcp("::", 0))
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, listener.port)
            writer.write(request("/echo", b"abc"))
            assert await read_answer(reader) == (200, b"abc")
            writer.close()

    async def test_a_port_that_is_taken_is_told(self, desk: Desk) -> None:
        listener = await desk.listen()
        assert listener.port is not None

        with pytest.raises(Unavailable, match=f"cannot listen on {HOST}:{listener.port}: Addr"):
            await desk.listen(Tcp(HOST, listener.port))

    async def test_a_unix_socket_serves_both_and_goes_with_its_listener(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "socket")
        listener = await desk.listen(Unix(path))
        reader, writer = await asyncio.open_unix_connection(path)
        client = await H2Client().connect(path=path)

        writer.write(request("/peer"))

        assert await read_answer(reader) == (200, b"unix: plain")
        assert (await client.ask("/echo", b"abc")).body == b"abc"
        assert listener.port is None
        writer.close()
        await client.close()
        await listener.stop(1)
        assert not os.path.exists(path)  # noqa: ASYNC240

    async def test_a_socket_that_a_dead_process_has_left_is_replaced(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "socket")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)

        await desk.listen(Unix(path))

        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request("/echo", b"abc"))
        assert await read_answer(reader) == (200, b"abc")
        writer.close()

    async def test_a_socket_that_is_alive_and_a_file_are_left_alone(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        alive, file = tmp_path / "alive", tmp_path / "file"
        await desk.listen(Unix(str(alive)))
        file.write_text("precious")

        for path in (alive, file):
            with pytest.raises(Unavailable, match=f"cannot listen on unix:{path}"):
                await desk.listen(Unix(str(path)))
        assert file.read_text() == "precious"

    async def test_one_listener_may_have_a_port_and_a_path(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        path = str(tmp_path / "socket")
        listener = await desk.listen(Tcp(HOST, 0), Unix(path))
        tcp = await desk.http2(listener)
        unix = await H2Client().connect(path=path)

        for client in (tcp, unix):
            assert (await client.ask("/echo", b"abc")).body == b"abc"
            await client.close()

    async def test_answers_are_not_held_back_by_nagle(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)
        loop = asyncio.get_running_loop()
        writer.write(request("/flood?1"))
        await reader.readuntil(b"0\r\n\r\n")

        began = loop.time()
        for _ in range(20):  # with Nagle's algorithm, many of them would take 40 ms
            writer.write(request("/flood?1"))
            await reader.readuntil(b"0\r\n\r\n")

        assert loop.time() - began < 0.6


class TestManyConnections:
    async def test_beyond_the_limit_they_are_closed_at_once(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        listener = await desk.listen(limits=Limits(max_connections=3))
        kept = [await desk.connect(listener) for _ in range(3)]
        await until(lambda: listener.statistics().connections == 3)

        for _ in range(5):
            reader, _ = await desk.connect(listener)
            assert await reader.read() == b""

        assert caplog.text.count("3 connections are open") == 1
        assert listener.statistics().refused == 5
        for reader, writer in kept:
            writer.write(request("/echo", b"abc"))
            assert await read_answer(reader) == (200, b"abc")
        kept[0][1].close()
        await until(lambda: listener.statistics().connections == 2)
        reader, writer = await desk.connect(listener)
        writer.write(request("/echo", b"abc"))
        assert await read_answer(reader) == (200, b"abc")

    async def test_two_thousand_idle_ones_cost_nobody_anything(self, desk: Desk) -> None:
        listener = await desk.listen()
        idle = []
        async with watched(0.5):
            for _ in range(2000):
                idle.append(await desk.connect(listener))
                if len(idle) % 2:
                    idle[-1][1].write(request("/echo", b"x"))
            await until(lambda: listener.statistics().connections == 2000)
            client = await desk.http2(listener)

            for n in range(100):
                assert (await client.ask("/echo", b"%d" % n)).body == b"%d" % n
                await asyncio.sleep(0.005)

    async def test_nothing_is_left_of_one_that_is_over(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        reader, writer = await desk.connect(listener)
        gc.collect()
        gc.disable()  # it would find what refers to itself, and look for long
        try:
            writer.write(request("/slow?1", b"abc"))
            await read_answer(reader)
            await client.ask("/slow?1", b"abc")
            connections = [weakref.ref(each) for each in listener._connections]

            writer.close()
            await client.close()
            await until(lambda: listener.statistics().connections == 0)

            await until(lambda: [each() for each in connections] == [None, None])
        finally:
            gc.enable()

    async def test_numbers_say_what_there_is(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        for _ in range(3):
            client.begin("/wait")
        await until(lambda: len(desk.application.begun) == 3)

        statistics = listener.statistics()

        assert (statistics.accepted, statistics.refused, statistics.connections) == (1, 0, 1)
        assert (statistics.requests, statistics.pending_bytes) == (3, 0)


class TestTime:
    async def test_who_says_nothing_is_let_go(self, desk: Desk) -> None:
        listener = await desk.listen(limits=Limits(head_timeout_s=0.05, tick_s=0.02))
        reader, _ = await desk.connect(listener)

        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""  # there is nothing to be said to it

    async def test_a_fault_of_our_own_ends_one_connection_alone(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(now: float) -> None:
            raise LookupError("a fault of our own")

        listener = await desk.listen(limits=Limits(tick_s=0.02))
        broken, whole = await desk.http2(listener), await desk.http2(listener)
        await whole.ask("/echo", b"abc")
        await broken.ask("/echo", b"abc")
        for connection in listener._connections:
            own = broken.writer.get_extra_info("sockname")
            if connection.peer == f"{own[0]}:{own[1]}":
                connection.core.on_time = fail  # type: ignore[method-assign,assignment]

        await until(lambda: listener.statistics().connections == 1)

        assert "a fault of our own" in caplog.text
        assert (await whole.ask("/echo", b"abc")).body == b"abc"

    async def test_why_a_connection_ends_is_logged_quietly(
        self, desk: Desk, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "sigrun")
        listener = await desk.listen()
        reader, writer = await desk.connect(listener)

        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([255]) * 100)
        await reader.read()

        assert [record.levelno for record in caplog.records if "ends" in record.message] == [
            logging.DEBUG
        ]
