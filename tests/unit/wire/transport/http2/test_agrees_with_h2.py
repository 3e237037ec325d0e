"""Whatever a client sends, the core accepts what the library h2 accepts, and reads the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from hypothesis import given, note
from hypothesis import strategies as st

from sigrun.wire.transport.events import Data, Event, Fields, Head, Reset, Trailers
from sigrun.wire.transport.http2 import PREFACE, Http2
from sigrun.wire.transport.http2.frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
)
from sigrun.wire.transport.limits import Limits
from tests.fakes.http2_peer import (
    REQUEST,
    Frame,
    block,
    data,
    frame,
    frames_in,
    headers,
    rst,
    window_update,
)
from tests.fakes.http2_peer import settings as settings_frame

Said = tuple[object, ...]


class Verdict(NamedTuple):
    """What one side makes of one frame."""

    error: str | None
    said: list[Said]


class Ours:
    def __init__(self) -> None:
        self.core = Http2(Limits(), 0.0)

    def receive(self, sent: bytes) -> Verdict:
        events = self.core.receive(sent, 0.0)
        resets = [f for f in frames_in(self.core.take()) if f.kind == RST_STREAM]
        said = [said for event in events for said in self._said(event)]
        if self.core.is_ended:
            return Verdict(str(events[-1]), [])
        if resets:
            return Verdict(f"reset {resets}", [])
        return Verdict(None, said)

    def _said(self, event: Event) -> list[Said]:
        match event:
            case Head(stream, head, ended):
                names = sorted(head.headers)
                said: list[Said] = [("head", stream, head.method, head.target, names)]
                return [*said, ("end", stream)] if ended else said
            case Data(stream, data, credit, ended):
                said = [("data", stream, data, credit)] if data else []
                return [*said, ("end", stream)] if ended else said
            case Trailers(stream, headers):
                return [("trailers", stream, sorted(headers)), ("end", stream)]
            case Reset(stream, code):
                return [("reset", stream, code)]
        return []


class Theirs:
    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.h2.initiate_connection()
        self.h2.update_settings({5: 65_536, 4: 1024 * 1024})
        self.h2.increment_flow_control_window(4 * 1024 * 1024 - 65_535)
        self.h2.data_to_send()

    def receive(self, sent: bytes) -> Verdict:
        try:
            events = self.h2.receive_data(sent)
        except ProtocolError as error:
            return Verdict(repr(error), [])
        resets = [f for f in frames_in(self.h2.data_to_send()) if f.kind == RST_STREAM]
        if resets:
            return Verdict(f"reset {resets}", [])
        return Verdict(None, [said for event in events for said in self._said(event)])

    def _said(self, event: h2.events.Event) -> list[Said]:
        said: list[Said] = []
        match event:
            case h2.events.RequestReceived():
                fields = dict(event.headers)
                names = sorted({bytes(n) for n in fields if not n.startswith(b":")})
                said = [("head", event.stream_id, fields[b":method"], fields.get(b":path"), names)]
            case h2.events.DataReceived() if event.data:  # of others we make no event
                said = [("data", event.stream_id, event.data, event.flow_controlled_length)]
            case h2.events.TrailersReceived():
                said = [("trailers", event.stream_id, sorted({bytes(n) for n, _ in event.headers}))]
            case h2.events.StreamEnded():
                said = [("end", event.stream_id)]
            case h2.events.StreamReset():
                said = [("reset", event.stream_id, event.error_code)]
        return said


# Sequences. A frame is a function of the newest stream, so that most of them make sense.

Make = Callable[[int], bytes]

newer = st.just(2)
offsets = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, 2, -2, -4, 1, 100, -1000])
flags = st.sampled_from([0, END_STREAM])
fields = st.sampled_from(
    [
        (b"a", b"b"),
        (b"a", b""),
        (b"cookie", b"c"),
        (b"te", b"trailers"),
        (b"host", b"here"),
        (b"grpc-timeout", b"1S"),
        (b"content-length", b"3"),
    ]
)
odd_fields = st.sampled_from(
    [
        (b"content-length", b"x"),
        (b"te", b"gzip"),
        (b"connection", b"close"),
        (b"host", b"there"),
        (b"A", b"b"),
        (b"a b", b"b"),
        (b"a:b", b"b"),
        (b"a", b" b"),
        (b"a", b"b\n"),
        (b"", b"b"),
        (b":path", b"/b"),
        (b":status", b"200"),
    ]
)
requests = st.one_of(
    st.builds(lambda extra: (*REQUEST, *extra), st.lists(fields, max_size=2)),
    st.builds(lambda extra: (*REQUEST, extra), odd_fields),
    st.sampled_from([REQUEST[:3], REQUEST[1:], (REQUEST[0], *REQUEST[2:]), REQUEST[::-1], ()]),
)
words = st.sampled_from([0, 1, 5, 16_384, 65_535, 2**31 - 1, 2**31, 2**32 - 1])


def at(offset: int, newest: int) -> int:
    """Return the stream at an offset from the newest, not below 0."""
    return max(0, newest + offset)


def made(
    build: Callable[..., bytes], stream: st.SearchStrategy[int], *arguments: st.SearchStrategy[Any]
) -> st.SearchStrategy[Make]:
    """Return frames that `build` makes of a stream and of some arguments."""
    return st.builds(
        lambda offset, *given: lambda newest: build(at(offset, newest), *given), stream, *arguments
    )


def split_block(stream: int, fields: Fields, flags: int, at: int) -> bytes:
    whole = block(fields)
    return frame(HEADERS, flags, stream, whole[:at]) + frame(
        CONTINUATION, END_HEADERS, stream, whole[at:]
    )


bodies = st.sampled_from([b"abc", b"abc", b"ab", b"", b"x" * 300])
valid = st.one_of(
    made(headers, newer, requests, flags.map(lambda f: f | END_HEADERS)),
    made(split_block, newer, requests, flags, st.integers(0, 20)),
    made(data, st.sampled_from([0, 0, -2]), bodies, flags),
    made(rst, st.sampled_from([0, -2])),
    made(window_update, st.sampled_from([0, 0, -2, -1000]), st.integers(1, 9)),
)
well_made = st.one_of(
    made(
        headers,
        offsets,
        st.sampled_from([((b"a", b"b"),), REQUEST, ((b":path", b"/"),)]),
        flags.map(lambda f: f | END_HEADERS),
    ),
    made(data, offsets, bodies, flags),
    made(
        lambda s, n, f: data(s, bytes([n]) + b"abcdef", f | PADDED),
        offsets,
        st.integers(0, 8),
        flags,
    ),
    made(rst, offsets, words),
    made(window_update, offsets, words),
    made(lambda s, n: frame(PRIORITY, 0, s, bytes(n)), offsets, st.sampled_from([5, 5, 4])),
    made(lambda s: frame(CONTINUATION, END_HEADERS, s), offsets),
    made(lambda s: frame(PUSH_PROMISE, 0, s, bytes(4)), offsets),
    made(lambda s, k: frame(k, 0, s, b"what"), offsets, st.integers(11, 255)),
    made(lambda s, k, v: settings_frame((k, v)), newer, st.integers(0, 7), words),
    made(
        lambda s, f, n: frame(SETTINGS, f, s, bytes(n)),
        st.sampled_from([-1000, -1000, 0]),
        flags,
        st.sampled_from([0, 0, 5]),
    ),
    made(
        lambda s, f, n: frame(PING, f, s, bytes(n)),
        st.sampled_from([-1000, -1000, 0]),
        flags,
        st.sampled_from([8, 8, 7]),
    ),
)


def mutate(make: Make, at: int, byte: int) -> Make:
    def mutated(newest: int) -> bytes:
        sent = bytearray(make(newest))
        sent[3 + at % 6 if at < 20 else -1] = byte  # not the length: the frame would not be whole
        return bytes(sent)

    return mutated


mutated = st.builds(mutate, valid | well_made, st.integers(0, 40), st.integers(0, 255))
anything = made(
    lambda s, k, f, p: frame(k, f, s, p),
    offsets,
    st.integers(0, 12),
    st.integers(0, 255),
    st.binary(max_size=20),
)
sequences = st.lists(
    st.one_of(valid, valid, valid, valid, well_made, mutated, anything), min_size=1, max_size=12
)


def frames_of(sequence: list[Make]) -> Iterator[bytes]:
    """Yield what is sent, one frame or block after the other."""
    newest = 1
    yield PREFACE + settings_frame() + headers(1, REQUEST, END_HEADERS)
    for make in sequence:
        sent = make(newest)
        if sent[3] == HEADERS:
            newest = max(newest, int.from_bytes(sent[5:9]) & 0x7FFFFFFF)
        yield sent


class Difference(NamedTuple):
    """Where the two differ, and we are right or it does not matter."""

    we_accept: bool
    applies: Callable[[Frame], bool]
    example: bytes


DIFFERENCES = {
    "RFC 9113, 6.4: a reset of a stream that was never opened is an error": Difference(
        False, lambda f: f.kind == RST_STREAM, rst(9)
    ),
    "a client's PUSH_PROMISE is an error at once; h2 waits for the end of its block": Difference(
        False, lambda f: f.kind == PUSH_PROMISE, frame(PUSH_PROMISE, 0, 1, (2).to_bytes(4))
    ),
    "RFC 9113, 8.1.1: a promised length that no body follows is malformed": Difference(
        False,
        lambda f: f.kind == HEADERS,
        headers(3, (*REQUEST, (b"content-length", b"3"))),
    ),
    "RFC 9113, 6.9: the reserved bit of a window's increment is ignored": Difference(
        True, lambda f: f.kind == WINDOW_UPDATE, window_update(0, 2**31 + 1)
    ),
    "RFC 9113, 5.3: priorities are not looked at, not even whether a stream hangs on itself": (
        Difference(
            True,
            lambda f: f.kind == PRIORITY or f.flags & WITH_PRIORITY != 0,
            frame(PRIORITY, 0, 1, (1).to_bytes(4) + b"\0"),
        )
    ),
    "h2 knows ALTSVC and looks into it; for us it is one of the unknown": Difference(
        True, lambda f: f.kind == 10, frame(10, 0, 1, b"\xff\xff")
    ),
    "we look at the number of a stream before its block is whole": Difference(
        False, lambda f: f.kind == HEADERS and not f.flags & END_HEADERS, frame(HEADERS, 0, 2, b"")
    ),
    "after a client's GOAWAY h2 reads nothing any more; we take what comes until we have drained": (
        Difference(True, lambda f: f.kind == GOAWAY, frame(GOAWAY, 0, 0, bytes(8)) + headers(3))
    ),
}


def is_listed(sent: bytes, our: Verdict) -> bool:
    """Return whether a difference is one of those that are known."""
    return any(
        difference.applies(frames_in(sent)[0]) and difference.we_accept == (our.error is None)
        for difference in DIFFERENCES.values()
    )


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_known_difference_is_one(difference: Difference) -> None:
    ours, theirs = Ours(), Theirs()
    for sent in frames_of([]):
        ours.receive(sent)
        theirs.receive(sent)

    assert (ours.receive(difference.example).error is None) == difference.we_accept
    assert (theirs.receive(difference.example).error is None) != difference.we_accept


@given(sequences)
def test_the_core_and_h2_agree(sequence: list[Make]) -> None:
    ours, theirs = Ours(), Theirs()
    for sent in frames_of(sequence):
        our, their = ours.receive(sent), theirs.receive(sent)
        note(f"{sent!r}\n  we: {our}\n  h2: {their}")
        if (our.error is None) != (their.error is None):
            assert is_listed(sent, our)
            return
        if our.error is not None or sent[3] == GOAWAY:
            return
        assert our.said == their.said
