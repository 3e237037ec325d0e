"""Who makes the core work for nothing is sent away; who is merely busy is not."""

from __future__ import annotations

from collections.abc import Callable

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.wire.transport.events import Ended, Head, Problem, Refused, Reset, Response
from sigrun.wire.transport.http2 import PREFACE, Http2
from sigrun.wire.transport.http2.frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    SETTINGS,
    ErrorCode,
)
from sigrun.wire.transport.limits import Limits
from tests.fakes.http2_peer import (
    ANSWER,
    REQUEST,
    Peer,
    data,
    ended,
    frame,
    headers,
    open_request,
    rst,
    window_update,
)
from tests.fakes.http2_peer import settings as settings_frame

_READ_BYTES = 256 * 1024
_BLOCK = headers(1)[9:]


def _request(stream: int, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, _BLOCK)


# What is sent first, and then again and again with another stream each time.
FLOODS: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "rapid reset": (b"", lambda n: _request(n) + rst(n)),
    "resets of what is answered": (b"", lambda n: rst(1)),
    "made you reset by windows": (b"", lambda n: _request(n) + window_update(n, 0)),
    "made you reset by data": (b"", lambda n: _request(n) + data(n, b"a")),
    "malformed requests": (b"", lambda n: headers(n, REQUEST[1:])),
    "requests beyond the limit": (b"", _request),
    "requests of no fields": (b"", lambda n: frame(HEADERS, END_HEADERS, n)),
    "CONTINUATION": (
        frame(HEADERS, 0, 3, _BLOCK),
        lambda n: frame(CONTINUATION, 0, 3, b"\0\1a\1b"),
    ),
    "empty CONTINUATION": (frame(HEADERS, 0, 3, _BLOCK), lambda n: frame(CONTINUATION, 0, 3)),
    "large CONTINUATION": (
        frame(HEADERS, 0, 3, _BLOCK),
        lambda n: frame(CONTINUATION, 0, 3, bytes(30_000)),
    ),
    "empty DATA": (open_request(3), lambda n: data(3, b"")),
    "DATA of padding": (open_request(3), lambda n: data(3, b"\x02\0\0", PADDED)),
    "DATA of a byte": (open_request(3), lambda n: data(3, b"a")),
    "DATA of a byte after a reset": (
        headers(3, REQUEST[1:], END_HEADERS),
        lambda n: data(3, b"a"),
    ),
    "SETTINGS": (b"", lambda n: settings_frame((4, n))),
    "acknowledgements": (b"", lambda n: frame(SETTINGS, ACK)),
    "PING": (b"", lambda n: frame(PING, 0, 0, bytes(8))),
    "answers to PING": (b"", lambda n: frame(PING, ACK, 0, bytes(8))),
    "PRIORITY": (b"", lambda n: frame(PRIORITY, 0, n, bytes(5))),
    "WINDOW_UPDATE": (b"", lambda n: window_update(0, 1)),
    "WINDOW_UPDATE of a stream": (open_request(3), lambda n: window_update(3, 1)),
    "WINDOW_UPDATE of what is over": (b"", lambda n: window_update(1, 1)),
    "unknown frames": (b"", lambda n: frame(0xBE, 0, n, b"what")),
    "goodbyes": (b"", lambda n: frame(GOAWAY, 0, 0, bytes(8))),
}


@pytest.mark.parametrize(("first", "again"), FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_the_connection(first: bytes, again: Callable[[int], bytes]) -> None:
    peer = Peer()
    peer.answer_all(peer.send(_request(1)))
    peer.send(first)
    peer.received()
    output = heads = 0

    for n in range(0, 40_000, 100):
        events = peer.send(*[again(5 + 2 * (n + m)) for m in range(100)])
        output += sum(9 + len(f.payload) for f in peer.received())
        heads += sum(isinstance(event, Head) for event in events)
        if peer.core.is_ended:
            break

    end = ended(events)
    assert end is not None
    assert end.code == ErrorCode.ENHANCE_YOUR_CALM
    assert output < 200_000
    assert heads <= 5010
    assert peer.core.pending_bytes == 0
    assert peer.core.open_requests == 0


@pytest.mark.parametrize("again", [_request, lambda n: frame(PING, 0, 0, bytes(8))])
def test_who_does_not_read_is_not_read_from(again: Callable[[int], bytes]) -> None:
    limits = Limits(
        max_pings=10**9, max_resets=10**9, max_concurrent_streams=100, max_untaken_bytes=256 * 1024
    )
    core = Http2(limits, 0.0)
    core.receive(PREFACE + settings_frame(), 0.0)
    n, reads = 1, 0

    while core.wants_data:
        sent = b"".join([again(n + 2 * m) for m in range(1000)])
        for event in core.receive(sent, 0.0):
            if isinstance(event, Head):
                core.respond(event.stream, ANSWER)
        n += 2000
        reads += 1

    assert reads > 5
    assert core.pending_bytes < limits.max_untaken_bytes + _READ_BYTES


def test_10_000_resets_among_as_many_answers_are_no_attack() -> None:
    peer = Peer()
    stream = 1

    for _ in range(10_000):
        peer.answer_all(peer.send(_request(stream)))
        assert peer.send(_request(stream + 2), rst(stream + 2))[-1] == Reset(stream + 2, 8)
        peer.received()
        peer.now += 0.001
        stream += 4
    peer.core.on_time(peer.now)

    assert not peer.core.is_ended


def test_1600_calls_that_are_given_up_do_not_harm_the_others() -> None:
    peer = Peer()
    kept = range(1, 21, 2)
    peer.send(*[_request(stream) for stream in kept])

    for stream in range(21, 3221, 2):
        peer.send(_request(stream), rst(stream))
    for stream in kept:
        peer.core.respond(stream, ANSWER)

    assert len([f for f in peer.of_kind(HEADERS) if f.flags & END_STREAM]) == 10


def test_a_client_that_pings_with_each_answer_and_opens_windows_often_is_no_attack() -> None:
    peer = Peer(Limits(max_pings=1000, max_window_updates=1000))

    for stream in range(1, 12_001, 2):
        events = peer.send(_request(stream), frame(PING, 0, 0, bytes(8)))
        peer.answer_all(events, ANSWER._replace(body=bytes(100)))
        peer.send(window_update(0, 100), window_update(stream, 100))
        peer.received()

    assert not peer.core.is_ended


def test_window_updates_for_all_that_was_sent_are_no_attack() -> None:
    peer = Peer(Limits(max_window_updates=100))
    peer.send(open_request(1))
    peer.core.start(1, 200, ())

    for _ in range(5000):
        peer.core.write(1, bytes(20))
        peer.send(window_update(0, 20), window_update(1, 20))
        peer.received()

    assert not peer.core.is_ended


def test_counters_begin_anew() -> None:
    peer = Peer(Limits(max_pings=10, abuse_interval_s=10.0))

    for _ in range(5):
        peer.send(*[frame(PING, 0, 0, bytes(8))] * 10)
        peer.wait(10.0)

    assert not peer.core.is_ended


def test_a_bomb_of_references_is_refused() -> None:
    peer = Peer()
    encoder = hpack.Encoder()
    first = encoder.encode([*REQUEST, (b"a", b"b" * 3900)])
    bomb = encoder.encode(REQUEST) + b"\xbe" * 16_000
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, first))

    (refused,) = peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, bomb))

    assert isinstance(refused, Refused)
    assert refused.problem is Problem.HEAD_TOO_LARGE
    peer.core.respond(3, Response(431, ()))
    (again,) = peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 5, encoder.encode(REQUEST)))
    assert isinstance(again, Head)


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans(), st.integers(1, 5))
def test_no_input_makes_it_raise(pieces: list[bytes], is_greeted: bool, wait_s: int) -> None:
    core = Http2(Limits(), 0.0)
    if is_greeted:
        core.receive(PREFACE + settings_frame() + open_request(1), 0.0)

    for number, piece in enumerate(pieces):
        for event in core.receive(piece, float(number * wait_s)):
            if isinstance(event, Head):
                core.respond(event.stream, ANSWER)
        core.on_time(float(number * wait_s))
        core.take()

    events = core.receive_eof(100.0)
    assert core.is_ended
    assert all(isinstance(event, Ended) for event in events)
