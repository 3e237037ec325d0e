"""Slow clients, silent ones, old connections: what the HTTP/2 core does as time passes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sigrun.wire.transport.events import Data, Ended, Event, Head, Problem, Refused, Reset, Response
from sigrun.wire.transport.http2 import PREFACE, Http2
from sigrun.wire.transport.http2.frames import (
    ACK,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    ErrorCode,
)
from sigrun.wire.transport.limits import Limits
from tests.fakes.http2_peer import (
    ANSWER,
    Peer,
    data,
    ended,
    frame,
    headers,
    open_request,
    settings,
    window_update,
)

LIMITS = Limits(
    head_timeout_s=10.0,
    body_grace_s=20.0,
    min_body_bytes_per_s=1000.0,
    stalled_s=60.0,
    idle_s=75.0,
    max_connection_idle_s=300.0,
    keepalive_interval_s=math.inf,
)

SLOW_BEGINS = {
    "nothing": b"",
    "half a preface": PREFACE[:12],
    "no settings": PREFACE,
    "half a frame": PREFACE + settings() + headers(1)[:12],
    "a head that is not continued": PREFACE + settings() + frame(HEADERS, END_STREAM, 1, b""),
}


@pytest.mark.parametrize("sent", SLOW_BEGINS.values(), ids=SLOW_BEGINS.keys())
def test_a_head_must_come_within_its_time(sent: bytes) -> None:
    core = Http2(LIMITS, 0.0)
    core.receive(sent, 0.0)

    assert core.on_time(9.75) == []
    end = ended(core.on_time(10.5))
    assert end is not None
    assert end.code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_head_of_a_byte_a_second_is_cut_off() -> None:
    peer = Peer(LIMITS)

    for byte in headers(1, [(b"a", b"b" * 100)]):
        peer.send(bytes([byte]))
        if ended(peer.wait(1.0)):
            break

    assert peer.core.is_ended
    assert peer.now < 15


def test_a_body_of_a_byte_a_second_is_refused_and_the_others_go_on() -> None:
    peer = Peer(LIMITS)
    peer.send(open_request(1), headers(3))

    events: list[Event] = []
    while not events:
        peer.send(data(1, b"a"))
        events = peer.wait(1.0)

    (refused,) = events
    assert isinstance(refused, Refused)
    assert refused.problem is Problem.TOO_SLOW
    assert refused.head is not None
    assert 20 <= peer.now <= 22
    peer.core.respond(1, Response(408, ()))
    peer.core.respond(3, ANSWER)
    assert peer.core.open_requests == 0
    assert [f.stream for f in peer.of_kind(RST_STREAM)] == [1]


def test_a_slow_body_whose_answer_has_begun_is_reset() -> None:
    peer = Peer(LIMITS)
    peer.send(open_request(1))
    peer.core.start(1, 200, ())

    assert peer.wait(21) == [Reset(1, ErrorCode.CANCEL)]


def test_a_body_that_keeps_the_minimum_rate_is_waited_for() -> None:
    peer = Peer(LIMITS)
    peer.send(open_request(1))

    for _ in range(200):
        for event in peer.send(data(1, bytes(1100))):
            assert isinstance(event, Data)
            peer.core.consumed(1, event.credit)
        assert peer.wait(1.0) == []


def test_a_large_frame_that_keeps_the_minimum_rate_is_waited_for() -> None:
    peer = Peer(LIMITS)
    sent = open_request(1) + data(1, bytes(60_000), END_STREAM)

    for start in range(0, len(sent) - 1100, 1100):
        assert peer.send(sent[start : start + 1100])[1:] == []
        assert peer.wait(1.0) == []


def test_a_large_frame_of_a_byte_a_second_ends_the_connection() -> None:
    peer = Peer(LIMITS)
    peer.send(open_request(1), data(1, bytes(60_000))[:20])

    while not peer.core.is_ended:
        peer.send(b"a")
        peer.wait(1.0)

    assert peer.now < 25


def test_a_streaming_call_may_pause() -> None:
    peer = Peer(LIMITS)
    peer.send(open_request(1))
    peer.core.expect_pauses(1)

    assert peer.wait(1000, tick_s=1.0) == []


def test_a_body_that_the_application_does_not_read_is_not_slow() -> None:
    peer = Peer(LIMITS)
    peer.send(open_request(1), *[data(1, bytes(60_000)) for _ in range(15)])

    assert peer.wait(5000, tick_s=1.0) == []
    peer.core.consumed(1, 900_000)
    assert peer.wait(19, tick_s=1.0) == []


def test_an_answer_that_nobody_reads_is_given_up() -> None:
    peer = Peer(LIMITS, settings((4, 10)))
    peer.send(headers(1), headers(3))
    peer.core.respond(1, ANSWER._replace(body=bytes(100)))
    peer.core.respond(3, ANSWER._replace(body=bytes(9000)))
    peer.received()
    peer.wait(40)
    peer.send(window_update(3, 4096))
    peer.received()

    assert peer.wait(30) == [Reset(1, ErrorCode.CANCEL)]
    assert peer.wait(40) == [Reset(3, ErrorCode.CANCEL)]
    assert peer.core.pending_bytes < 100


def test_an_answer_that_is_read_a_byte_a_second_is_given_up() -> None:
    peer = Peer(LIMITS, settings((4, 10)))
    peer.send(headers(1))
    peer.core.respond(1, ANSWER._replace(body=bytes(10_000)))

    events: list[Event] = []
    while not events:
        peer.send(window_update(1, 1))
        peer.received()
        events = peer.wait(1.0)

    assert events == [Reset(1, ErrorCode.CANCEL)]
    assert peer.now < 65


def test_an_answer_that_waits_for_its_turn_is_not_given_up() -> None:
    limits = replace(LIMITS, max_take_bytes=10_000)
    peer = Peer(limits, settings((4, 100_000)), window_update(0, 10**6))
    peer.send(headers(1), headers(3))
    peer.core.respond(1, ANSWER._replace(body=bytes(90_000)))
    peer.core.respond(3, ANSWER._replace(body=bytes(90_000)))

    takes = 0
    while peer.core.open_requests:  # each take is a frame of one of them
        assert peer.wait(50, tick_s=1.0) == []
        peer.core.take()
        takes += 1

    assert takes > 10


def test_a_socket_that_takes_nothing_ends_the_connection() -> None:
    peer = Peer(LIMITS)
    peer.send(headers(1))
    peer.core.respond(1, ANSWER)

    assert peer.wait(59) == []
    end = ended(peer.wait(2))
    assert end is not None
    assert end.code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_silent_client_is_asked_whether_it_is_there() -> None:
    limits = Limits(keepalive_interval_s=30.0, keepalive_timeout_s=5.0, idle_s=math.inf)
    peer = Peer(limits)

    peer.wait(31)
    (ping,) = peer.received()
    assert ping.kind == PING
    peer.send(frame(PING, ACK, 0, ping.payload))
    peer.wait(29)
    assert peer.received() == []
    peer.wait(2)
    assert len(peer.received()) == 1
    end = ended(peer.wait(6))
    assert end is not None
    assert "PING" in end.text


@pytest.mark.parametrize(("first", "idle_s"), [(b"", 75.0), (headers(1), 300.0)])
def test_an_idle_connection_is_drained(first: bytes, idle_s: float) -> None:
    peer = Peer(LIMITS)
    peer.answer_all(peer.send(first))
    peer.received()

    peer.wait(idle_s - 1)
    assert peer.received() == []
    peer.wait(1)
    assert [f.kind for f in peer.received()] == [GOAWAY, PING]
    assert ended(peer.wait(2)) == Ended(0, "")


def test_a_busy_connection_is_not_idle() -> None:
    peer = Peer(LIMITS)

    for n in range(30):
        peer.answer_all(peer.send(headers(2 * n + 1)))
        peer.received()
        assert peer.wait(100, tick_s=1.0) == []


def test_a_connection_is_not_idle_from_the_begin_of_a_long_request_on() -> None:
    peer = Peer(LIMITS)
    events = peer.send(headers(1))
    peer.wait(1000, tick_s=1.0)
    peer.answer_all(events)
    peer.received()

    assert peer.wait(290, tick_s=1.0) == []
    assert peer.received() == []


def test_an_old_connection_is_drained_and_ended_after_its_grace() -> None:
    limits = Limits(
        max_connection_age_s=100.0,
        max_connection_age_grace_s=50.0,
        keepalive_interval_s=math.inf,
        max_connection_idle_s=math.inf,
    )
    peer = Peer(limits)
    peer.send(headers(1))

    peer.wait(89)
    assert peer.received() == []
    peer.wait(22)
    assert [f.kind for f in peer.received()] == [GOAWAY, PING, GOAWAY]
    assert not peer.core.is_ended
    end = ended(peer.wait(51))
    assert end is not None
    assert "old" in end.text


def test_connections_of_the_same_age_do_not_end_at_the_same_time() -> None:
    limits = Limits(max_connection_age_s=100.0, idle_s=math.inf)
    peers = [Peer(limits) for _ in range(20)]

    for peer in peers:
        peer.now = 100.0
        peer.core.on_time(100.0)

    assert 0 < sum(not peer.received() for peer in peers) < 20


def test_time_alone_changes_nothing_for_a_request_that_is_being_answered() -> None:
    peer = Peer(LIMITS)
    (event,) = peer.send(headers(1))
    assert isinstance(event, Head)

    assert peer.wait(2000, tick_s=1.0) == []


def test_headers_in_pieces_leave_time_for_the_next() -> None:
    peer = Peer(LIMITS)
    for n in range(5):
        sent = headers(2 * n + 1)
        assert peer.send(sent[:10]) == []
        peer.wait(8)
        events = peer.send(sent[10:])
        assert len(events) == 1
        peer.answer_all(events)
        peer.received()
