"""HTTP/1.1 without I/O: what is too large, too many or too slow."""

from __future__ import annotations

import time

import pytest

from sigrun.wire.transport.events import Data, Ended, Head, Problem, Refused, Reset
from tests.fakes.http1_peer import CHUNKED, OK, Http1Peer, answer_of, get, post

LONG_S = 10_000.0


class TestHeads:
    def test_a_head_behind_a_large_body_is_counted_by_itself(self) -> None:
        peer = Http1Peer()
        text = post(bytes(100_000)) + get("A: " + "x" * 20_000)

        peer.send(text[:90_000], text[90_000:-10], text[-10:])

        assert peer.whole == [1, 2]

    @pytest.mark.parametrize("piece_bytes", [100, 100_000])
    def test_a_head_may_be_so_large_and_no_larger(self, piece_bytes: int) -> None:
        request = get("A: " + "x" * 10_000)
        for max_bytes, refusals in ((len(request), []), (len(request) - 1, ["HEAD_TOO_LARGE"])):
            peer = Http1Peer(max_head_bytes=max_bytes)

            peer.send(
                *(request[at : at + piece_bytes] for at in range(0, len(request), piece_bytes))
            )

            assert [problem.name for problem in peer.refusals] == refusals

    def test_a_head_without_end_is_refused_before_it_is_all_there(self) -> None:
        peer = Http1Peer(max_head_bytes=10_000)

        peer.send(b"GET / HTTP/1.1\r\nA: ", *[b"x" * 1000] * 11)

        assert peer.refusals == [Problem.HEAD_TOO_LARGE]

    def test_a_head_may_have_so_many_headers_and_no_more(self) -> None:
        peer = Http1Peer(max_headers=5)

        peer.send(get(*["A: b"] * 4) + get(*["A: b"] * 5))

        assert list(peer.heads) == [1]
        assert peer.refusals == [Problem.HEAD_TOO_LARGE]

    def test_a_head_that_comes_byte_by_byte_is_not_searched_again_and_again(self) -> None:
        peer = Http1Peer(max_head_bytes=60_000)
        began_at = time.monotonic()

        peer.send(b"GET / HTTP/1.1\r\nA: ", *[b"x"] * 50_000)

        assert peer.events == []
        assert time.monotonic() - began_at < 5

    def test_empty_lines_before_a_request_are_passed_over(self) -> None:
        peer = Http1Peer()

        assert peer.send(b"\r\n" * 10_000, b"\r", b"\n") == []
        assert peer.wait(11) == [Ended(0, "")]


class TestBodies:
    def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(self) -> None:
        peer = Http1Peer(max_body_bytes=10)

        peer.send(post(b"x" * 11, "Expect: 100-continue")[:-11])

        (refused,) = peer.events
        assert isinstance(refused, Refused)
        assert refused.head is not None
        assert (refused.problem, refused.text) == (
            Problem.BODY_TOO_LARGE,
            "The body is larger than 10 bytes",
        )
        assert answer_of(peer.respond(1))[1]["connection"] == "close"

    def test_a_body_that_becomes_too_large_is_refused(self) -> None:
        peer = Http1Peer(max_body_bytes=10)

        peer.send(CHUNKED, b"8\r\n12345678\r\n", b"3\r\n901\r\n0\r\n\r\n", get())

        assert list(peer.heads) == [1]
        assert peer.bodies == {1: b"12345678"}
        assert peer.refusals == [Problem.BODY_TOO_LARGE]

    def test_a_chunk_that_says_it_is_too_large_is_refused_before_it_comes(self) -> None:
        peer = Http1Peer(max_body_bytes=10)

        peer.send(CHUNKED, b"b\r\n")

        assert peer.refusals == [Problem.BODY_TOO_LARGE]

    def test_a_body_of_tiny_chunks_is_refused_by_their_number(self) -> None:
        peer = Http1Peer(max_chunk_overhead_bytes=50_000)

        peer.send(CHUNKED, b"1\r\na\r\n" * 9_000)
        assert peer.refusals == []
        peer.send(b"1\r\na\r\n" * 2_000)

        assert peer.refusals == [Problem.BODY_TOO_LARGE]

    def test_a_body_of_large_chunks_is_not(self) -> None:
        peer = Http1Peer(max_chunk_overhead_bytes=1_000)

        peer.send(CHUNKED, (b"80\r\n" + b"x" * 0x80 + b"\r\n") * 10_000, b"0\r\n\r\n")

        assert peer.whole == [1]

    def test_chunks_of_one_read_are_told_together(self) -> None:
        peer = Http1Peer()

        events = peer.send(CHUNKED + b"1\r\na\r\n" * 5_000)

        assert events[1:] == [Data(1, b"a" * 5_000, 5_000, False)]

    @pytest.mark.parametrize("piece_bytes", [1000, 20_000])
    def test_extensions_of_chunks_are_limited(self, piece_bytes: int) -> None:
        peer = Http1Peer()
        text = b"1;" + b"x" * 10_000 + b"\r\na\r\n"

        peer.send(
            CHUNKED, *(text[at : at + piece_bytes] for at in range(0, len(text), piece_bytes))
        )

        assert peer.refusals == [Problem.MALFORMED]

    def test_many_small_extensions_are_limited_too(self) -> None:
        peer = Http1Peer(max_chunk_overhead_bytes=50_000)

        peer.send(CHUNKED, (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 100)

        assert peer.refusals == [Problem.BODY_TOO_LARGE]

    @pytest.mark.parametrize(
        "trailers", [b"a:b\r\n" * 500_000, b"a:" + b"b" * 2_000_000, b"a:" + b"b" * 8193 + b"\r\n"]
    )
    @pytest.mark.parametrize("piece_bytes", [100_000, 10_000_000])
    def test_trailers_are_limited(self, trailers: bytes, piece_bytes: int) -> None:
        peer = Http1Peer(max_trailer_bytes=8192)
        peer.send(CHUNKED + b"1\r\na\r\n0\r\n")
        began_at = time.monotonic()

        peer.send(*(trailers[at : at + piece_bytes] for at in range(0, len(trailers), piece_bytes)))

        assert peer.refusals == [Problem.HEAD_TOO_LARGE]
        assert time.monotonic() - began_at < 0.5

    def test_the_number_of_trailers_is_limited(self) -> None:
        for number, is_refused in ((10, False), (11, True)):
            peer = Http1Peer(max_trailers=10)

            peer.send(CHUNKED + b"0\r\n" + b"a:b\r\n" * number + b"\r\n")

            assert (peer.refusals == [Problem.HEAD_TOO_LARGE]) is is_refused


class TestTime:
    def test_who_says_nothing_is_sent_away_without_a_word(self) -> None:
        peer = Http1Peer(head_timeout_s=5.0)

        assert peer.wait(4.9) == []
        assert peer.wait(LONG_S, until=Ended) == [Ended(0, "")]
        assert peer.take() == b""

    def test_a_connection_may_rest_between_requests(self) -> None:
        peer = Http1Peer(head_timeout_s=5.0, idle_s=75.0)
        peer.wait(4)
        peer.send(get())
        peer.wait(200)
        peer.respond(1)

        assert peer.wait(74.9) == []
        assert peer.wait(1) == [Ended(0, "")]

    @pytest.mark.parametrize("before", [b"", get()])
    def test_a_slow_head_is_told_so(self, before: bytes) -> None:
        peer = Http1Peer(head_timeout_s=5.0)
        peer.send(before)

        for byte in b"GET / HTTP/1.1\r\n":
            peer.send(bytes([byte]))
            peer.wait(1)

        assert peer.refusals == [Problem.TOO_SLOW]

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_slow_body_is_told_so(self, chunked: bool) -> None:
        peer = Http1Peer(body_grace_s=5.0, min_body_bytes_per_s=100.0)
        peer.send(CHUNKED + b"7d0\r\n" if chunked else post(bytes(2000))[:-2000])

        for _ in range(10):
            peer.send(b"x")
            peer.wait(1)

        (refused,) = (event for event in peer.events if isinstance(event, Refused))
        assert (refused.stream, refused.head) == (1, peer.heads[1])
        assert refused.problem is Problem.TOO_SLOW
        assert refused.text == "The body took too long to come: 6 bytes of it are there"

    def test_a_body_that_goes_on_coming_is_waited_for(self) -> None:
        peer = Http1Peer(body_grace_s=5.0, min_body_bytes_per_s=100.0)
        peer.send(post(bytes(20_000))[:-20_000])

        for _ in range(200):
            peer.send(b"x" * 100)
            peer.wait(1)

        assert peer.whole == [1]

    def test_a_slow_body_counts_from_its_own_beginning(self) -> None:
        peer = Http1Peer(body_grace_s=5.0)
        peer.send(get())
        peer.wait(60)
        peer.send(post(b"hello")[:-1])

        assert peer.wait(4) == []

    def test_a_body_that_may_pause_is_waited_for(self) -> None:
        peer = Http1Peer(body_grace_s=5.0)
        peer.send(CHUNKED)
        peer.core.expect_pauses(1)

        assert peer.wait(LONG_S) == []
        peer.send(b"0\r\n\r\n" + post(b"a")[:-1])
        assert peer.wait(LONG_S, until=Refused)  # the next one may not

    def test_time_in_which_the_client_is_held_back_does_not_count(self) -> None:
        peer = Http1Peer(body_grace_s=5.0, max_unread_bytes=10)
        peer.send(post(bytes(20))[:-10])

        assert peer.wait(100) == []
        peer.core.consumed(1, 10)
        assert peer.wait(4.5) == []
        assert peer.wait(1, until=Refused)

    def test_a_request_may_take_as_long_as_it_takes(self) -> None:
        peer = Http1Peer()
        peer.send(get())

        assert peer.wait(LONG_S) == []

    def test_who_takes_nothing_of_an_answer_is_cut_off(self) -> None:
        peer = Http1Peer(stalled_s=60.0, max_take_bytes=10)
        peer.send(get() * 2)
        peer.core.respond(1, OK)

        for _ in range(3):
            assert peer.wait(59) == []
            peer.core.take()
        (ended,) = peer.wait(62)

        assert isinstance(ended, Ended)
        assert ended.code != 0
        assert ended.text
        assert peer.core.is_ended
        assert (peer.core.open_requests, peer.core.pending_bytes, peer.take()) == (0, 0, b"")

    def test_an_answer_that_waits_for_another_is_not_stalled(self) -> None:
        peer = Http1Peer()
        peer.send(get() * 2)
        peer.core.respond(2, OK)

        assert peer.wait(LONG_S) == []

    def test_who_is_heard_out_is_not_heard_for_ever(self) -> None:
        peer = Http1Peer(linger_s=2.0)
        peer.send(b"no HTTP\r\n\r\n")
        peer.wait(100)
        peer.respond(1)

        for _ in range(3):
            assert not peer.core.is_ended
            peer.send(b"more")
            peer.wait(0.7)

        assert peer.core.is_ended


class TestWriters:
    def test_a_reset_after_too_slow_a_body_ends_the_answer(self) -> None:
        peer = Http1Peer()
        peer.send(CHUNKED)
        peer.core.start(1, 200, ())

        assert peer.wait(LONG_S, until=Reset) == [Reset(1, 1)]


class TestWork:
    def test_a_thousand_requests_at_once_are_read_bit_by_bit(self) -> None:
        peer = Http1Peer(max_pipelined=4)
        began_at = time.monotonic()

        longest = len(peer.send(post(b"x" * 200) * 1000))
        for stream in range(1, 1001):
            peer.respond(stream)
            longest = max(longest, len(peer.go_on()))

        assert len(peer.whole) == 1000
        assert longest == 8  # a head and a body each
        assert time.monotonic() - began_at < 2

    def test_what_is_thrown_away_is_not_kept(self) -> None:
        peer = Http1Peer()
        peer.send(b"no HTTP\r\n\r\n")

        for _ in range(100):
            peer.send(bytes(100_000))

        assert peer.core._reader._input == b""
        assert not any(isinstance(event, Head) for event in peer.events)
