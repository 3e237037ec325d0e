"""A connection, fed by hand: no sockets, no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from sigrun.config.server import HttpOptions
from sigrun.errors import SigrunError
from sigrun.wire.http import connection as connection_module
from sigrun.wire.http.connection import Connection
from sigrun.wire.http.messages import HttpRequest, HttpResponse, error_response

pytestmark = pytest.mark.asyncio

LONG = 10_000.0


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `may_take` bytes of it fit before the writer has to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reads = True
        self.is_ended = self.is_closed = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.written += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


class FakeApp:
    """Answers with the request as JSON, when `gate` is open."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.was_cancelled = False
        self.headers: list[tuple[bytes, bytes]] = []

    async def respond(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return HttpResponse(body=bytes(request.body), headers=self.headers)

    def refusal(self, error: SigrunError) -> HttpResponse:
        return error_response(error)


class Peer:
    """One connection and its other end."""

    def __init__(self, **options: Any) -> None:
        self.app = FakeApp()
        self.lost: list[Connection] = []
        self.connection = Connection(
            self.app,
            HttpOptions(**options),
            on_made=lambda connection: None,
            on_lost=self.lost.append,
        )
        self.transport = FakeTransport()
        self.connection.connection_made(self.transport)

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.data_received(piece)
        await let_run()

    def take(self) -> bytes:
        taken = bytes(self.transport.written)
        self.transport.written.clear()
        return taken

    def wait(self, seconds: float) -> None:
        self.connection.give_up_if_due(asyncio.get_running_loop().time() + seconds)


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def post(body: bytes, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    head = f"POST /x?y=1 HTTP/1.1\r\nHost: h\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer_of(text: bytes) -> tuple[int, Mapping[str, str], bytes]:
    head, _, body = text.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert int(headers["content-length"]) == len(body)
    return int(status.split()[1]), headers, body


class TestRequests:
    async def test_a_request_is_answered_in_one_piece(self) -> None:
        peer = Peer()

        await peer.send(post(b"hello", X_Name="Value"))

        assert answer_of(peer.take()) == (
            200,
            {"content-type": "application/json", "content-length": "5"},
            b"hello",
        )
        (request,) = peer.app.requests
        assert (request.method, request.target, request.body) == ("POST", "/x?y=1", b"hello")
        assert request.headers[b"x-name"] == b"Value"

    async def test_it_may_come_byte_by_byte(self) -> None:
        peer = Peer()

        await peer.send(*(bytes([byte]) for byte in post(b"hello") * 2))

        assert [request.body for request in peer.app.requests] == [b"hello", b"hello"]

    async def test_a_body_of_unknown_length_is_read_to_its_end(self) -> None:
        peer = Peer()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

        await peer.send(head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")

        assert answer_of(peer.take())[2] == b"abcde"

    async def test_a_header_that_is_sent_twice_is_a_list(self) -> None:
        peer = Peer()

        await peer.send(b"GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\n\r\n")

        assert peer.app.requests[0].headers[b"a"] == b"1, 2"

    async def test_those_that_come_at_once_are_answered_in_their_order(self) -> None:
        peer = Peer()
        peer.app.gate.clear()

        await peer.send(post(b"1") + post(b"2") + post(b"3"))

        assert not peer.transport.reads
        assert len(peer.app.requests) == 1
        peer.app.gate.set()
        await let_run()
        bodies = [part[:1] for part in peer.take().split(b"\r\n\r\n")[1:]]
        assert bodies == [b"1", b"2", b"3"]
        assert peer.transport.reads

    async def test_a_large_body_lets_others_read_between_its_pieces(self) -> None:
        peer = Peer()
        body = bytes(200_000)
        text = post(body)

        peer.connection.data_received(text[:100_000])
        assert not peer.transport.reads
        await asyncio.sleep(0)
        assert peer.transport.reads

        await peer.send(text[100_000:])
        assert answer_of(peer.take())[2] == body

    async def test_a_large_body_does_not_go_on_while_others_wait_for_their_turn(self) -> None:
        peer = Peer()
        peer.app.gate.clear()
        large = post(bytes(100_000))

        await peer.send(post(b"1"))
        await peer.send(large[:50_000], large[50_000:])

        assert not peer.transport.reads
        peer.app.gate.set()
        await let_run()
        assert peer.transport.reads

    async def test_an_answer_to_head_has_no_body(self) -> None:
        peer = Peer()

        await peer.send(post(b"hello").replace(b"POST", b"HEAD"))

        assert peer.take().endswith(b"content-length: 5\r\n\r\n")

    @pytest.mark.parametrize("head", [b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0\r\nA: b"])
    async def test_it_closes_when_the_client_wants_it(self, head: bytes) -> None:
        peer = Peer()

        await peer.send(b"GET / " + head + b"\r\nHost: h\r\n\r\n")

        assert answer_of(peer.take())[1]["connection"] == "close"
        assert peer.transport.is_closed

    async def test_a_client_that_asks_first_is_told_to_go_on(self) -> None:
        peer = Peer()
        head, _, body = post(b"hello", Expect="100-continue").partition(b"\r\n\r\n")

        await peer.send(head + b"\r\n\r\n")
        assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(body)

        assert answer_of(peer.take())[2] == b"hello"

    async def test_a_wish_for_another_protocol_is_passed_over(self) -> None:
        peer = Peer()
        wish = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AA"}

        await peer.send(post(b"hello", **wish) + post(b"next"))

        assert [request.body for request in peer.app.requests] == [b"hello", b"next"]
        assert b"upgrade" not in peer.app.requests[0].headers

    async def test_a_whole_url_is_taken_by_its_path(self) -> None:
        peer = Peer()

        await peer.send(b"GET http://h:1/a/b?c HTTP/1.1\r\nHost: h\r\n\r\n")

        assert peer.app.requests[0].target == "/a/b?c"

    async def test_a_large_answer_waits_for_the_client(self) -> None:
        peer = Peer()
        body = bytes(range(256)) * 4096

        peer.connection.pause_writing()
        await peer.send(post(body))
        assert len(peer.transport.written) < 1000
        peer.connection.resume_writing()
        await let_run()

        assert answer_of(peer.take())[2] == body

    async def test_a_header_of_two_lines_is_not_sent(self) -> None:
        peer = Peer()
        peer.app.headers = [(b"a", b"b\r\nc: d")]

        await peer.send(post(b""))

        assert peer.take() == b""
        assert peer.transport.is_aborted


class TestRefusals:
    @pytest.mark.parametrize(
        "text",
        [
            b"\x16\x03\x01 no HTTP",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET nothing HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    async def test_what_is_no_request_is_told_in_json(self, text: bytes) -> None:
        peer = Peer()

        await peer.send(text, b"more")

        status, headers, body = answer_of(peer.take())
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["code"] == "INVALID_ARGUMENT"
        assert peer.app.requests == []

    async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(self) -> None:
        peer = Peer(max_body_bytes=10)

        await peer.send(post(b"12345678901", Expect="100-continue")[:-11])

        status, _, body = answer_of(peer.take())
        assert (status, json.loads(body)["error"]) == (413, "The body is larger than 10 bytes")

    async def test_a_body_that_becomes_too_large_is_refused(self) -> None:
        peer = Peer(max_body_bytes=10)
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

        await peer.send(head, b"8\r\n12345678\r\n", b"3\r\n901\r\n0\r\n\r\n", post(b"next"))

        assert answer_of(peer.take())[0] == 413
        assert peer.app.requests == []

    async def test_a_head_without_end_is_refused(self) -> None:
        peer = Peer()

        await peer.send(b"GET / HTTP/1.1\r\nA: ", *[b"x" * 1000] * 70)

        assert answer_of(peer.take())[0] == 431

    async def test_the_client_is_heard_out_for_a_while_before_it_closes(self) -> None:
        peer = Peer(max_body_bytes=10)
        await peer.send(post(b"x" * 11))

        assert (peer.transport.is_ended, peer.transport.is_closed) == (True, False)
        await peer.send(b"more and more")
        peer.wait(LONG)

        assert peer.transport.is_closed

    async def test_a_refusal_waits_for_the_answers_before_it(self) -> None:
        peer = Peer()
        peer.app.gate.clear()

        await peer.send(post(b"1"), b"no HTTP\r\n\r\n")
        assert peer.take() == b""
        peer.app.gate.set()
        await let_run()

        statuses = [line.split()[1] for line in peer.take().split(b"\r\n") if b"HTTP/1.1" in line]
        assert statuses[:2] == [b"200", b"400"]


class TestTime:
    async def test_a_slow_body_is_told_so(self) -> None:
        peer = Peer(body_timeout_s=30.0)
        await peer.send(post(b"hello")[:-1])

        peer.wait(29.0)
        assert peer.take() == b""
        peer.wait(31.0)
        await let_run()

        status, _, body = answer_of(peer.take())
        assert status == 408
        assert json.loads(body) == {
            "error": "The body took too long to come: 4 bytes of it are there",
            "code": "DEADLINE_EXCEEDED",
        }

    async def test_a_body_that_goes_on_coming_is_waited_for(self) -> None:
        peer = Peer(body_timeout_s=30.0)
        chunk = b"x" * 1024 * 1024  # worth 16 s

        await peer.send(post(chunk * 2)[: -len(chunk)])
        peer.wait(40.0)
        await let_run()
        assert peer.take() == b""
        await peer.send(chunk)

        assert peer.app.requests[0].body == chunk * 2

    async def test_a_slow_head_is_told_so(self) -> None:
        peer = Peer(head_timeout_s=5.0)
        await peer.send(b"GET / HT")

        peer.wait(6.0)
        await let_run()

        assert answer_of(peer.take())[0] == 408

    async def test_who_says_nothing_is_sent_away_without_a_word(self) -> None:
        peer = Peer(head_timeout_s=5.0)

        peer.wait(6.0)

        assert (peer.take(), peer.transport.is_closed) == (b"", True)

    async def test_a_connection_may_rest_between_requests(self) -> None:
        peer = Peer(head_timeout_s=5.0)
        await peer.send(post(b"1"))

        peer.wait(60.0)
        assert not peer.transport.is_closed
        peer.wait(100.0)
        assert peer.transport.is_closed

    async def test_a_request_may_take_as_long_as_it_takes(self) -> None:
        peer = Peer()
        peer.app.gate.clear()
        await peer.send(post(b"1"))

        peer.wait(LONG)

        assert not peer.transport.is_closed

    async def test_who_does_not_take_his_answer_is_cut_off(self) -> None:
        peer = Peer()
        peer.connection.pause_writing()
        await peer.send(post(b"x" * (connection_module._CHUNK_BYTES + 1)))

        peer.wait(LONG)

        assert peer.transport.is_aborted


class TestEnds:
    async def test_a_request_whose_client_leaves_is_cancelled(self) -> None:
        peer = Peer()
        peer.app.gate.clear()
        await peer.send(post(b"1") + post(b"2"))

        peer.transport.close()
        peer.connection.connection_lost(None)
        await let_run()

        assert peer.app.was_cancelled
        assert len(peer.app.requests) == 1
        assert peer.lost == [peer.connection]
        assert peer.take() == b""

    async def test_draining_closes_what_rests(self) -> None:
        peer = Peer()
        await peer.send(post(b"1"), b"GET / HT")

        peer.connection.drain()

        assert peer.transport.is_closed

    async def test_draining_lets_a_request_finish(self) -> None:
        peer = Peer()
        peer.app.gate.clear()
        await peer.send(post(b"1"))

        peer.connection.drain()
        assert not peer.transport.is_closed
        peer.app.gate.set()
        await let_run()

        assert answer_of(peer.take())[1]["connection"] == "close"
        assert peer.transport.is_closed

    @pytest.mark.parametrize("sent", [post(b"1"), post(b"12")[:-1]], ids=["answered", "received"])
    async def test_what_is_cut_off_is_told_so(self, sent: bytes) -> None:
        peer = Peer()
        peer.app.gate.clear()
        await peer.send(sent)
        peer.connection.drain()

        peer.connection.cut()
        await let_run()

        status, headers, body = answer_of(peer.take())
        assert (status, headers["connection"]) == (503, "close")
        assert json.loads(body)["error"] == "The server is stopping"
        assert peer.transport.is_closed

    async def test_half_an_answer_is_not_followed_by_another(self) -> None:
        peer = Peer()
        peer.connection.pause_writing()
        await peer.send(post(b"x" * (connection_module._CHUNK_BYTES + 1)))
        peer.take()

        peer.connection.cut()
        await let_run()

        assert peer.take() == b""
        assert peer.transport.is_aborted
