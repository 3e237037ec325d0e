"""HTTP/1.1 without I/O: what is read, and what is answered."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

from sigrun.wire.transport.events import Data, Ended, Head, Problem, Refused, Reset, Response
from tests.fakes.http1_peer import CHUNKED, OK, Http1Peer, answer_of, get, post

UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")


class TestRequests:
    def test_a_request_is_told_with_its_head_and_its_body(self) -> None:
        peer = Http1Peer()

        peer.send(post(b"hello", "X-Name: Value  "))

        head = peer.heads[1]
        assert (head.method, head.target, head.version) == (b"POST", b"/x?y=1", b"1.1")
        assert (head.scheme, head.authority) == (b"http", b"h")
        assert head.headers == {b"host": b"h", b"x-name": b"Value", b"content-length": b"5"}
        assert peer.events == [Head(1, head, False), Data(1, b"hello", 5, True)]

    def test_a_request_without_a_body_ends_with_its_head(self) -> None:
        peer = Http1Peer()

        assert peer.send(get()) == [Head(1, peer.heads[1], True)]

    def test_it_may_come_byte_by_byte(self) -> None:
        peer = Http1Peer()

        peer.send(*(bytes([byte]) for byte in post(b"hello") * 2 + b"\r\n" + get()))

        assert peer.bodies == {1: b"hello", 2: b"hello", 3: b""}
        assert peer.whole == [1, 2, 3]

    def test_a_body_in_chunks_is_read_to_its_end(self) -> None:
        peer = Http1Peer()

        peer.send(CHUNKED, b"3\r\nabc\r\n", b"2;a=b\r\nde\r\n0\r\nA: b\r\n\r\n" + get())

        assert peer.bodies == {1: b"abcde", 2: b""}
        assert peer.whole == [1, 2]

    def test_headers_that_are_repeated_are_lists(self) -> None:
        peer = Http1Peer()

        peer.send(get("A: 1 ", "a: 2", "Cookie: x", "cookie: y"))

        headers = peer.heads[1].headers
        assert (headers[b"a"], headers[b"cookie"]) == (b"1, 2", b"x; y")

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            (b"http://other:1/a/b?c", (b"http", b"other:1", b"/a/b?c")),
            (b"HTTPS://u@other", (b"https", b"other", b"/")),
            (b"http://other?c", (b"http", b"other", b"/?c")),
        ],
    )
    def test_a_whole_url_is_taken_apart(
        self, target: bytes, expected: tuple[bytes, bytes, bytes]
    ) -> None:
        peer = Http1Peer()

        peer.send(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")

        head = peer.heads[1]
        assert (head.scheme, head.authority, head.target) == expected

    def test_a_wish_for_another_protocol_is_passed_over(self) -> None:
        peer = Http1Peer()

        peer.send(post(b"hello", *UPGRADE) + get())

        assert peer.bodies == {1: b"hello", 2: b""}
        assert set(peer.heads[1].headers) == {b"host", b"content-length"}

    def test_a_thousand_wishes_for_another_protocol_are_passed_over(self) -> None:
        peer = Http1Peer()

        peer.send(get(*UPGRADE) * 1000)
        while peer.core.open_requests:
            peer.respond(peer.whole[-1] - peer.core.open_requests + 1)
            peer.go_on()

        assert len(peer.whole) == 1000
        assert not peer.refusals

    def test_the_same_head_is_told_as_the_same_object(self) -> None:
        peer = Http1Peer()

        peer.send(post(b"1"), post(b"2"))

        assert peer.heads[1] is peer.heads[2]

    def test_heads_that_differ_in_the_length_of_the_body_have_a_base_in_common(self) -> None:
        peer = Http1Peer()

        peer.send(*(post(b"x" * length, "A: b") for length in (1, 2, 12, 2)))

        headers = [head.headers for head in peer.heads.values()]
        for length, found in zip((b"1", b"2", b"12", b"2"), headers, strict=True):
            assert found == {b"host": b"h", b"a": b"b", b"content-length": length}
        base = peer.heads[2].base
        assert base is not None
        assert base is peer.heads[3].base
        assert base.headers == {b"host": b"h", b"a": b"b"}
        assert [len(body) for body in peer.bodies.values()] == [1, 2, 12, 2]

    def test_a_length_after_a_known_head_is_checked_too(self) -> None:
        peer = Http1Peer(max_body_bytes=20)

        peer.send(post(b"x" * 10), post(b"x" * 20), post(b"x" * 21))

        assert peer.whole == [1, 2]
        assert peer.refusals == [Problem.BODY_TOO_LARGE]

    @pytest.mark.parametrize("make", [lambda n: get(f"A: {n}"), lambda n: post(b"", f"A: {n}")])
    def test_many_different_heads_are_not_all_kept(self, make: Callable[[int], bytes]) -> None:
        peer = Http1Peer()

        for number in range(100):
            peer.send(make(number))
            peer.respond(number + 1)

        known = peer.core._reader._known
        assert max(len(known._same), len(known._alike)) <= 8

    def test_nothing_is_left_for_the_collector_of_cycles(self) -> None:
        gc.collect()
        gc.disable()
        try:
            peer = Http1Peer()
            peer.send(post(b"hello"), CHUNKED, b"1\r\na\r\n0\r\n\r\n")
            peer.respond(1)
            core = weakref.ref(peer.core)
            del peer
            assert core() is None
            assert gc.collect() == 0
        finally:
            gc.enable()


class TestRefusedRequests:
    @pytest.mark.parametrize(
        "text",
        [
            b"\x16\x03\x01 this is TLS",
            b"GET / HTTP/9.9\r\nHost: h\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/0.9\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"OPTIONS / RTSP/1.0\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"GET / HTTP/1.1\r\nHost: h\rA: b\r\n\r\n",
            b"GET nothing HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            post(b"a", "Transfer-Encoding: chunked"),
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
    )
    def test_what_breaks_the_rules_is_malformed(self, text: bytes) -> None:
        peer = Http1Peer()

        events = peer.send(text, b"more", get())

        (refused,) = events
        assert isinstance(refused, Refused)
        assert (refused.stream, refused.head, refused.problem) == (1, None, Problem.MALFORMED)
        assert refused.text

    @pytest.mark.parametrize(
        "text",
        [
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ],
    )
    def test_what_is_not_served_is_said_to_be_so(self, text: bytes) -> None:
        peer = Http1Peer()

        peer.send(text)

        assert peer.refusals == [Problem.UNSUPPORTED]

    @pytest.mark.parametrize(
        "body",
        [
            b"x\r\n",
            b"\r\n",
            b"-1\r\n",
            b"0x1\r\na\r\n",
            b" 1\r\na\r\n",
            b"1\na\n",
            b"1;\x01\r\na\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"fffffffffffffffff\r\n",
            b"0\r\nno trailer\r\n\r\n",
            b"0\r\n: b\r\n\r\n",
            b"0\r\nA: b\n\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
        ],
    )
    def test_chunks_that_break_the_rules_are_malformed(self, body: bytes) -> None:
        for pieces in ([body], [bytes([byte]) for byte in body]):
            peer = Http1Peer()

            peer.send(CHUNKED, *pieces)

            assert peer.refusals == [Problem.MALFORMED]
            assert not peer.whole

    def test_the_answer_closes_and_what_still_comes_is_thrown_away(self) -> None:
        peer = Http1Peer()
        peer.send(b"no HTTP\r\n\r\n")

        status, headers, body = answer_of(peer.respond(1, OK._replace(status=400)))
        assert (status, headers["connection"], body) == (400, "close", b"answer")
        assert peer.core.is_lingering
        assert peer.core.wants_data
        assert peer.send(b"more and more", get()) == []
        assert peer.wait(10) == [Ended(0, "")]
        assert peer.core.is_ended

    def test_it_ends_at_once_when_the_client_has_read_it_and_leaves(self) -> None:
        peer = Http1Peer()
        peer.send(b"no HTTP\r\n\r\n")
        peer.respond(1)

        assert peer.leave() == [Ended(0, "")]

    def test_a_refusal_waits_for_the_answers_before_it(self) -> None:
        peer = Http1Peer()

        peer.send(get(), b"no HTTP\r\n\r\n")

        assert peer.respond(2, OK._replace(status=400)) == b""
        text = peer.respond(1)
        assert text.index(b"200 OK") < text.index(b"400 Bad Request")
        assert b"connection: close" not in text[: text.index(b"400")]


class TestAnswers:
    def test_an_answer_comes_in_one_piece(self) -> None:
        peer = Http1Peer()
        peer.send(get())

        assert peer.respond(1) == b"HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 6\r\n\r\nanswer"
        assert not peer.core.has_events

    def test_what_leads_a_body_is_part_of_it(self) -> None:
        peer = Http1Peer()
        peer.send(get())

        answer = answer_of(peer.respond(1, OK._replace(body=memoryview(b"bc"), lead=b"a")))

        assert answer[1:] == ({"a": "b", "content-length": "3"}, b"abc")

    def test_answers_leave_in_the_order_of_requests(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 3)

        assert peer.respond(3, OK._replace(body=b"3")) == b""
        assert peer.core.pending_bytes == peer.core.pending(3) > 0
        assert peer.respond(1, OK._replace(body=b"1")).endswith(b"1")
        assert peer.respond(2, OK._replace(body=b"2"))[-1:] == b"3"
        assert peer.core.pending_bytes == 0

    def test_an_answer_to_head_has_no_body(self) -> None:
        peer = Http1Peer()
        peer.send(get().replace(b"GET", b"HEAD"))

        assert answer_of(peer.respond(1))[1:] == ({"a": "b", "content-length": "6"}, b"")

    @pytest.mark.parametrize("status", [204, 304])
    def test_some_answers_have_no_body_and_no_length(self, status: int) -> None:
        peer = Http1Peer()
        peer.send(get())

        assert answer_of(peer.respond(1, Response(status, ()))) == (status, {}, b"")

    @pytest.mark.parametrize("value", [b"b\r\nc: d", b"b\nc: d", b"b\0"])
    def test_a_header_that_would_be_two_is_our_mistake(self, value: bytes) -> None:
        peer = Http1Peer()
        peer.send(get())

        with pytest.raises(ValueError, match="line break"):
            peer.core.respond(1, Response(200, ((b"a", value),)))
        with pytest.raises(ValueError, match="line break"):
            peer.core.start(1, 200, ((b"a", value),))

        assert answer_of(peer.respond(1))[0] == 200

    def test_a_second_answer_is_our_mistake(self) -> None:
        peer = Http1Peer()
        peer.send(get())
        peer.core.respond(1, OK)

        with pytest.raises(RuntimeError, match="WHOLE"):
            peer.core.respond(1, OK)

    def test_what_is_said_about_a_stream_that_is_gone_is_ignored(self) -> None:
        peer = Http1Peer()
        peer.send(get())
        peer.respond(1)

        for stream in (0, 1, 2):
            peer.core.respond(stream, OK)
            peer.core.start(stream, 200, ())
            peer.core.write(stream, b"a")
            peer.core.end(stream)
            peer.core.send_continue(stream)
            peer.core.consumed(stream, 1)
            peer.core.expect_pauses(stream)
            peer.core.reset(stream, 0)
            assert peer.core.pending(stream) == 0

        assert peer.take() == b""
        assert not peer.core.is_ended

    def test_a_large_answer_is_handed_out_in_bounded_pieces(self) -> None:
        body = bytes(range(256)) * 4096
        peer = Http1Peer(max_take_bytes=100_000)
        peer.send(get())
        peer.core.respond(1, Response(200, (), memoryview(body)))

        pieces = []
        while peer.core.has_output:
            assert not peer.core.is_ended
            pieces.append(peer.core.take())

        assert {len(piece) for piece in pieces[:-1]} == {100_000}
        assert answer_of(b"".join(pieces))[2] == body

    def test_a_view_is_sent_as_its_bytes(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 2)

        text = peer.respond(1, Response(200, (), memoryview(b"12345678").cast("i")))
        assert answer_of(text) == (200, {"content-length": "8"}, b"12345678")
        text = peer.respond(2, Response(200, (), memoryview(b"").cast("i")))
        assert answer_of(text) == (200, {"content-length": "0"}, b"")

    def test_an_answer_in_pieces_is_chunked(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 2)

        peer.core.start(1, 200, ((b"a", b"b"),))
        for data in (b"hello", b"", b"x" * 40_000):
            peer.core.write(1, data)
        peer.core.end(1, ((b"grpc-status", b"0"),))

        assert peer.take() == (
            b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n9c40\r\n" + b"x" * 40_000 + b"\r\n0\r\n\r\n"
        )
        assert peer.respond(2)

    def test_an_answer_in_pieces_to_head_has_none(self) -> None:
        peer = Http1Peer()
        peer.send(get().replace(b"GET", b"HEAD"))

        peer.core.start(1, 200, ())
        peer.core.write(1, b"hello")
        peer.core.end(1)

        assert peer.take() == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    def test_an_answer_in_pieces_to_http_1_0_ends_with_the_connection(self) -> None:
        peer = Http1Peer()
        peer.send(get("Connection: keep-alive", version="1.0") * 2)
        assert list(peer.heads) == [1]

        peer.core.start(1, 200, ())
        peer.core.write(1, b"hello")
        assert peer.take() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
        peer.core.end(1)

        assert peer.go_on() == [Ended(0, "")]
        assert list(peer.heads) == [1]

    def test_an_answer_that_is_given_up_ends_the_connection(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 3)
        peer.core.respond(1, OK)
        peer.core.start(2, 200, ())
        peer.core.respond(3, OK)

        peer.core.reset(2, 1)

        assert answer_of(peer.take())[2] == b"answer"
        assert [type(event) for event in peer.go_on()] == [Ended]
        assert peer.core.is_ended


class TestEndOfTheConnection:
    @pytest.mark.parametrize(
        ("request_", "header"),
        [
            (get(), None),
            (get("Connection: x, Close"), "close"),
            (get(version="1.0"), "close"),
            (get("Connection: Keep-Alive", version="1.0"), "keep-alive"),
            (get("Connection: keep-alive, close", version="1.0"), "close"),
        ],
    )
    def test_it_stays_as_long_as_the_client_wants_it(
        self, request_: bytes, header: str | None
    ) -> None:
        peer = Http1Peer()
        peer.send(request_)

        assert answer_of(peer.respond(1))[1].get("connection") == header
        peer.go_on()
        assert bool(peer.ends) == peer.core.is_ended == (header == "close")

    def test_what_comes_after_the_last_request_is_thrown_away(self) -> None:
        peer = Http1Peer()

        peer.send(get("Connection: close") + get(), get())

        assert list(peer.heads) == [1]
        assert peer.respond(1)
        assert peer.core.is_lingering  # else the client could lose the answer

    def test_who_sends_no_more_still_gets_answers(self) -> None:
        peer = Http1Peer()
        peer.send(get(), post(b"1"))

        assert peer.leave() == []

        assert peer.respond(1)
        assert answer_of(peer.respond(2))[1]["connection"] == "close"
        assert peer.go_on() == [Ended(0, "")]

    def test_who_sends_no_more_gets_answers_to_requests_that_wait(self) -> None:
        peer = Http1Peer(max_pipelined=2)
        peer.send(get() * 5 + b"GET /")
        peer.leave()

        for stream in range(1, 6):
            assert stream in peer.heads
            peer.respond(stream)
            peer.go_on()

        assert peer.ends == [Ended(0, "")]
        assert not peer.refusals

    def test_who_leaves_in_silence_ends_the_connection(self) -> None:
        peer = Http1Peer()

        assert peer.leave() == [Ended(0, "")]

    def test_half_a_head_is_nothing(self) -> None:
        peer = Http1Peer()
        peer.send(b"GET / HT")

        assert peer.leave() == [Ended(0, "")]

    @pytest.mark.parametrize("half", [post(b"hello")[:-1], CHUNKED + b"5\r\nhell"])
    def test_half_a_body_gives_the_request_up(self, half: bytes) -> None:
        peer = Http1Peer()
        peer.send(get() + half)

        assert peer.leave() == [Reset(2, 0)]
        assert peer.core.open_requests == 1
        peer.respond(1)
        assert peer.go_on() == [Ended(0, "")]

    def test_an_answer_before_the_end_of_the_body_closes(self) -> None:
        peer = Http1Peer()
        peer.send(post(b"hello")[:-1])

        assert answer_of(peer.respond(1))[1]["connection"] == "close"
        assert peer.core.is_lingering
        assert peer.send(b"o" + get()) == []

    def test_an_answer_in_pieces_may_end_before_the_body_does(self) -> None:
        peer = Http1Peer()
        peer.send(post(b"hello")[:-2])
        peer.core.start(1, 200, ())
        assert peer.send(b"l") == [Data(1, b"l", 1, False)]

        peer.core.end(1)

        assert peer.take().endswith(b"0\r\n\r\n")
        assert peer.core.is_lingering

    def test_a_refusal_after_the_answer_has_begun_gives_the_request_up(self) -> None:
        peer = Http1Peer()
        peer.send(CHUNKED)
        peer.core.start(1, 200, ())

        assert peer.send(b"x\r\n") == [Reset(1, 1)]
        assert peer.take() == b""
        assert peer.core.is_lingering

    def test_close_keeps_answers_that_are_whole(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 3)
        peer.core.respond(1, OK)
        peer.core.respond(3, OK)

        peer.core.close(0, "enough")

        assert not peer.core.is_ended
        assert answer_of(peer.take())[2] == b"answer"
        assert peer.core.is_ended
        assert peer.go_on() == [Ended(0, "enough")]
        assert peer.send(get()) == []

    def test_what_is_cut_off_is_told_so_and_not_what_has_half_its_answer(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 2 + post(b"hello")[:-1])
        peer.core.respond(1, OK)
        peer.core.respond(2, OK._replace(status=503))
        peer.core.respond(3, OK._replace(status=503))

        peer.core.close(0, "stopping")

        assert peer.take().count(b"HTTP/1.1 503 ") == 2
        assert peer.core.is_ended

        peer = Http1Peer()
        peer.send(get())
        peer.core.start(1, 200, ())
        peer.core.write(1, b"half")
        peer.core.reset(1, 1)
        assert peer.take() == b""


class TestContinue:
    @pytest.fixture
    def peer(self) -> Http1Peer:
        peer = Http1Peer()
        peer.send(post(b"hello", "Expect: 100-Continue")[:-5])
        return peer

    def test_the_client_is_told_to_go_on_when_the_application_wants_the_body(
        self, peer: Http1Peer
    ) -> None:
        assert peer.take() == b""
        peer.core.send_continue(1)
        peer.core.send_continue(1)

        assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.send(b"hello")
        assert answer_of(peer.respond(1))[0] == 200

    def test_it_is_not_told_so_when_the_body_comes_anyway(self, peer: Http1Peer) -> None:
        peer.send(b"h")

        peer.core.send_continue(1)

        assert peer.take() == b""

    def test_an_answer_without_it_closes(self, peer: Http1Peer) -> None:
        assert answer_of(peer.respond(1))[1]["connection"] == "close"

    def test_it_waits_as_long_as_the_application_does(self, peer: Http1Peer) -> None:
        assert peer.wait(1000) == []
        peer.core.send_continue(1)
        assert peer.wait(15) == []
        assert peer.wait(1000, until=Refused)

    def test_http_1_0_knows_nothing_of_it(self) -> None:
        peer = Http1Peer()
        peer.send(post(b"hello", "Expect: 100-continue", version="1.0")[:-5])

        peer.core.send_continue(1)

        assert peer.take() == b""


class TestPipelining:
    def test_a_few_requests_are_told_at_a_time(self) -> None:
        peer = Http1Peer(max_pipelined=3)

        peer.send(post(b"x") * 10)

        assert list(peer.heads) == [1, 2, 3]
        assert not peer.core.has_events
        assert not peer.core.wants_data
        for stream in range(1, 11):
            peer.respond(stream)
            assert len(peer.go_on()) == (2 if stream <= 7 else 0)
        assert peer.core.wants_data
        assert peer.whole == list(range(1, 11))

    def test_a_part_of_the_next_request_does_not_hold_reading_up(self) -> None:
        peer = Http1Peer(max_pipelined=3)

        peer.send(get() * 2 + b"GET /")

        assert peer.core.wants_data

    def test_what_waits_is_not_copied_for_each_request(self) -> None:
        peer = Http1Peer(max_pipelined=1)
        text = get() * 1000
        peer.send(text)
        waiting = peer.core._reader._input

        for stream in range(1, 999):
            peer.respond(stream)
            peer.go_on()
            assert peer.core._reader._input is waiting

        assert peer.whole[-1] == 999

    def test_no_more_requests_are_told_while_answers_are_not_taken(self) -> None:
        peer = Http1Peer(max_untaken_bytes=100)
        peer.send(get())
        peer.core.respond(1, OK._replace(body=b"x" * 1000))

        assert peer.send(get()) == []
        assert not peer.core.wants_data
        peer.take()
        assert len(peer.go_on()) == 1

    def test_a_body_that_nobody_reads_holds_reading_up(self) -> None:
        peer = Http1Peer(max_unread_bytes=10)
        peer.send(post(b"x" * 100)[:-80])
        assert not peer.core.wants_data

        peer.core.consumed(1, 20)
        assert peer.core.wants_data
        peer.send(b"x" * 80)
        assert not peer.core.wants_data

        peer.respond(1)  # without having read it
        assert peer.core.wants_data


class TestDrain:
    def test_the_answer_to_the_current_request_closes(self) -> None:
        peer = Http1Peer()
        peer.send(get())

        peer.drain()

        assert answer_of(peer.respond(1))[1]["connection"] == "close"
        assert peer.go_on() == [Ended(0, "")]

    def test_the_last_of_several_closes(self) -> None:
        peer = Http1Peer(max_pipelined=2)
        peer.send(get() * 4)
        peer.drain()

        closes = []
        for stream in range(1, 5):
            closes.append(b"connection: close" in peer.respond(stream))
            peer.go_on()

        assert closes == [False, False, False, True]
        assert peer.ends

    def test_half_a_request_is_waited_for_and_answered(self) -> None:
        peer = Http1Peer()
        peer.send(get() + get()[:-1])
        peer.drain()

        assert b"connection: close" not in peer.respond(1)
        peer.wait(2)
        peer.send(b"\n")

        assert b"connection: close" in peer.respond(2)
        assert peer.go_on() == [Ended(0, "")]

    def test_an_idle_connection_waits_for_what_may_be_on_its_way(self) -> None:
        peer = Http1Peer(drain_idle_s=0.5)
        peer.send(get())
        peer.respond(1)
        peer.wait(10)
        peer.drain()

        assert peer.wait(0.4) == []
        peer.send(get())
        assert peer.wait(10) == []
        assert b"connection: close" in peer.respond(2)
        assert peer.go_on() == [Ended(0, "")]

    @pytest.mark.parametrize("request_", [b"", get()])
    def test_an_idle_connection_ends_when_nothing_comes(self, request_: bytes) -> None:
        peer = Http1Peer(drain_idle_s=0.5)
        peer.send(request_)
        if request_:
            peer.respond(1)
        peer.drain()

        assert peer.wait(1) == [Ended(0, "")]
