"""A client of the HTTP/2 core that sends exactly the frames it is told to, right or wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import hpack

from sigrun.wire.transport.events import Ended, Event, Head, Response
from sigrun.wire.transport.http2 import PREFACE, Http2
from sigrun.wire.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from sigrun.wire.transport.limits import Limits

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/a"),
    (b":authority", b"here"),
)
ANSWER = Response(200, ((b"a", b"b"),), b"answer", ((b"grpc-status", b"0"),))


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of an RST_STREAM or a GOAWAY."""
        return int.from_bytes(self.payload[:4] if len(self.payload) == 4 else self.payload[4:8])


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def frames_in(data: bytes) -> list[Frame]:
    """Return the frames of which some bytes consist."""
    found = []
    while data:
        word, flags, stream = struct.unpack_from(">IBI", data)
        end = 9 + (word >> 8)
        assert len(data) >= end, "a frame that is cut off"
        found.append(Frame(word & 0xFF, flags, stream, data[9:end]))
        data = data[end:]
    return found


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a header block that does not touch the dynamic table."""
    tuples = [hpack.NeverIndexedHeaderTuple(*field) for field in fields]
    # The library's Huffman code takes time by the square of a value's length.
    is_short = all(len(value) < 1000 for _, value in tuples)
    return hpack.Encoder().encode(tuples, huffman=is_short)


def headers(
    stream: int,
    fields: Iterable[tuple[bytes, bytes]] = REQUEST,
    flags: int = END_HEADERS | END_STREAM,
) -> bytes:
    """Return a HEADERS frame: a whole request without a body if nothing else is said."""
    return frame(HEADERS, flags, stream, block(fields))


def open_request(stream: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Return the HEADERS of a request whose body follows."""
    return headers(stream, (*REQUEST, *extra), END_HEADERS)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    """Return a DATA frame."""
    return frame(DATA, flags, stream, payload)


def rst(stream: int, code: int = 8) -> bytes:
    """Return an RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4))


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4))


def settings(*values: tuple[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *value) for value in values))


class Peer:
    """A client, greeted, with a core of its own and the time."""

    def __init__(self, limits: Limits | None = None, *first: bytes) -> None:
        self.core = Http2(limits or Limits(), 0.0)
        self.now = 0.0
        self.send(PREFACE, *(first or (settings(),)))
        self.greeting = self.received()

    def send(self, *sent: bytes) -> list[Event]:
        """Let the core receive bytes, in one piece."""
        return self.core.receive(b"".join(sent), self.now)

    def received(self) -> list[Frame]:
        """Take everything that the core sends now."""
        taken = b""
        while self.core.has_output:
            taken += self.core.take()
        return frames_in(taken)

    def of_kind(self, kind: int) -> list[Frame]:
        """Take everything that the core sends now; return the frames of one kind."""
        return [frame for frame in self.received() if frame.kind == kind]

    def wait(self, seconds: float, tick_s: float = 0.25) -> list[Event]:
        """Let time pass, as the listener does."""
        events: list[Event] = []
        for _ in range(round(seconds / tick_s)):
            self.now += tick_s
            events += self.core.on_time(self.now)
        return events

    def answer_all(self, events: list[Event], response: Response = ANSWER) -> None:
        """Answer every request that begins in some events."""
        for event in events:
            if isinstance(event, Head):
                self.core.respond(event.stream, response)


def ended(events: list[Event]) -> Ended | None:
    """Return the end of the connection, which comes last."""
    assert not any(isinstance(event, Ended) for event in events[:-1])
    last = events[-1] if events else None
    return last if isinstance(last, Ended) else None


def kinds(events: list[Event]) -> list[type[Event]]:
    """Return what kinds of events there were."""
    return [type(event) for event in events]
