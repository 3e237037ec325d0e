"""A client of the HTTP/1.1 core that sends exactly the bytes it is told to, right or wrong."""

from __future__ import annotations

from typing import Any

from sigrun.wire.transport.events import (
    Data,
    Ended,
    Event,
    Head,
    Problem,
    Refused,
    RequestHead,
    Response,
)
from sigrun.wire.transport.http1 import Http1
from sigrun.wire.transport.limits import Limits

OK = Response(200, ((b"a", b"b"),), b"answer")


class Http1Peer:
    """One connection, the time, and what an application has been told over it."""

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.now = 1000.0
        self.core = Http1(self.limits, self.now)
        self.events: list[Event] = []
        self.heads: dict[int, RequestHead] = {}
        self.bodies: dict[int, bytes] = {}
        self.whole: list[int] = []  # streams that have come to their end

    def send(self, *pieces: bytes) -> list[Event]:
        """Send bytes; return what the application is told."""
        return [event for piece in pieces for event in self.hear(self._receive(piece))]

    def go_on(self) -> list[Event]:
        """Have the core go on as long as it has something to say."""
        events: list[Event] = []
        while self.core.has_events:
            events += self.hear(self._receive(b""))
        return events

    def leave(self) -> list[Event]:
        """Send no more."""
        return self.hear(self.core.receive_eof(self.now))

    def wait(self, seconds: float, *, until: type[Event] | None = None) -> list[Event]:
        """Let time pass, with a look at it every now and then."""
        events: list[Event] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            events += self.hear(self.core.on_time(self.now))
            if until is not None and any(isinstance(event, until) for event in events):
                break
        return events

    def drain(self) -> None:
        """Tell the connection that the server is to stop."""
        self.core.drain(self.now)

    def respond(self, stream: int, response: Response = OK) -> bytes:
        """Answer a request; return what the client gets."""
        self.core.respond(stream, response)
        return self.take()

    def take(self) -> bytes:
        """Return all the client gets."""
        out = b""
        while self.core.has_output:
            out += self.core.take()
        return out

    @property
    def refusals(self) -> list[Problem]:
        """Why requests were refused."""
        return [event.problem for event in self.events if isinstance(event, Refused)]

    @property
    def ends(self) -> list[Ended]:
        """How the connection ended: at most once."""
        return [event for event in self.events if isinstance(event, Ended)]

    def hear(self, events: list[Event]) -> list[Event]:
        """Take note of what the application is told."""
        self.events += events
        for event in events:
            if isinstance(event, Head):
                self.heads[event.stream] = event.head
                self.bodies[event.stream] = b""
            elif isinstance(event, Data):
                self.bodies[event.stream] += event.data
            if isinstance(event, Head | Data) and event.ended:
                self.whole.append(event.stream)
        return events

    def _receive(self, piece: bytes) -> list[Event]:
        return self.core.receive(piece, self.now)


def get(*lines: str, version: str = "1.1") -> bytes:
    """Return a request without a body."""
    return "\r\n".join((f"GET /x HTTP/{version}", "Host: h", *lines, "", "")).encode()


def post(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    """Return a request with a body whose length it says."""
    head = (f"POST /x?y=1 HTTP/{version}", "Host: h", *lines, f"Content-Length: {len(body)}")
    return "\r\n".join((*head, "", "")).encode() + body


CHUNKED = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer_of(text: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and the rest of an answer."""
    head, _, body = text.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body
