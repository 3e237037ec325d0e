"""What the two protocol cores say, and what is said to them.

A core is fed with bytes and the time; it returns events, and `take()` returns what is to be
written. It does no I/O, reads no clock, and never raises for what a peer sends.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

# Names are lower-case. Values of a repeated name are joined by b", " (of `cookie` by b"; ").
Headers = Mapping[bytes, bytes]
Fields = tuple[tuple[bytes, bytes], ...]

# Headers that a client, or a proxy before us, changes from call to call.
VARYING = frozenset(
    (b"grpc-timeout", b"x-request-id", b"traceparent", b"tracestate", b"grpc-trace-bin")
)


class RequestHead:
    """The head of a request.

    Nobody changes it: many requests share it if their header blocks were the same. Only `memo`
    is free: the application may keep there what it derives from this head.

    Over HTTP/2, calls that differ in nothing but `VARYING` headers get a head each, with one `base`
    in common, which lacks those headers; over HTTP/1.1 so do those that differ in `content-length`.
    What does not depend on them is best kept in `(head.base or head).memo`.
    """

    __slots__ = ("authority", "base", "headers", "memo", "method", "scheme", "target", "version")

    def __init__(
        self,
        *,
        method: bytes,
        target: bytes,
        scheme: bytes,
        authority: bytes,
        headers: Headers,
        version: bytes,
    ) -> None:
        self.method = method
        self.target = target
        self.scheme = scheme
        self.authority = authority
        self.headers = headers
        self.version = version  # b"1.0", b"1.1" or b"2"
        self.base: RequestHead | None = None
        self.memo: Any = None

    def varied(self, headers: Headers) -> RequestHead:
        """Return a head with these headers, which differ in the `VARYING` ones only."""
        head = RequestHead.__new__(RequestHead)
        head.method = self.method
        head.target = self.target
        head.scheme = self.scheme
        head.authority = self.authority
        head.headers = headers
        head.version = self.version
        head.base = self
        head.memo = None
        return head


class Problem(enum.Enum):
    """Why the transport refuses a request by itself."""

    MALFORMED = enum.auto()
    HEAD_TOO_LARGE = enum.auto()
    BODY_TOO_LARGE = enum.auto()
    TOO_SLOW = enum.auto()
    TOO_MANY = enum.auto()  # requests, or answers that are not taken
    FULL = enum.auto()  # the whole process is
    UNSUPPORTED = enum.auto()
    STOPPING = enum.auto()


class Head(NamedTuple):
    """A request begins. If it `ended`, it has no body and no further events but `Reset`."""

    stream: int
    head: RequestHead
    ended: bool


class Data(NamedTuple):
    """Some of the body; `credit` bytes are to be given back by `Core.consumed`."""

    stream: int
    data: bytes
    credit: int
    ended: bool


class Trailers(NamedTuple):
    """The body ended, and these came after it."""

    stream: int
    headers: Headers


class Reset(NamedTuple):
    """The request is given up, by the client or for what it did. No answer can be sent."""

    stream: int
    code: int


class Refused(NamedTuple):
    """The transport refuses a request; the application says with what `Response`.

    It may come in place of `Head`, or after it: then the request is not to be read any further.
    A core that gets no `respond` for it keeps the stream open.
    """

    stream: int
    head: RequestHead | None
    problem: Problem
    text: str


class Ended(NamedTuple):
    """The connection is over: write what `take()` gives, then close. Nothing follows.

    `text` says why, for a log; empty if nothing is wrong.
    """

    code: int
    text: str


Event = Head | Data | Trailers | Reset | Refused | Ended


class Response(NamedTuple):
    """A whole answer.

    Names of `headers` are lower-case; `content-length`, `connection` and `transfer-encoding`
    are not among them: the core adds what is needed. HTTP/1.1 knows no `trailers`. The body is
    `lead` and `body`: to put a few bytes before megabytes would be to copy those.
    """

    status: int
    headers: Fields
    body: bytes | bytearray | memoryview = b""
    trailers: Fields | None = None
    lead: bytes = b""


class Core(Protocol):
    """One connection of one protocol. All times are seconds of one monotonic clock."""

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer."""

    def receive_eof(self, now: float) -> list[Event]:
        """Take note that the peer sends no more."""

    def on_time(self, now: float) -> list[Event]:
        """Look at everything that hangs on time; called every `Limits.tick_s`."""

    def take(self) -> bytes:
        """Return what is to be written next, about `Limits.max_take_bytes` at most.

        Call it only while the socket takes bytes, and again while there `has_output`.
        """

    @property
    def has_output(self) -> bool:
        """Whether `take` has something to return."""

    # Answers. What is said about a stream that is gone meanwhile is ignored.

    def respond(self, stream: int, response: Response, /, *, head_only: bool = False) -> None:
        """Answer a request whole; `head_only`: it was a HEAD, the body is counted and left out."""

    def start(self, stream: int, status: int, headers: Fields, /) -> None:
        """Begin an answer that is written in pieces."""

    def write(self, stream: int, data: bytes | bytearray | memoryview, /) -> None:
        """Add to an answer. The data must not change afterwards."""

    def end(self, stream: int, trailers: Fields | None = None, /) -> None:
        """End an answer."""

    def send_continue(self, stream: int, /) -> None:
        """Send 100 Continue."""

    def reset(self, stream: int, code: int, /) -> None:
        """Give up a request without an answer."""

    # Flow control.

    def consumed(self, stream: int, credit: int, /) -> None:
        """Let the client send `credit` more bytes: the application took what there was."""

    def expect_pauses(self, stream: int, /) -> None:
        """Ask no minimum rate of this body: it is a streaming call's, which may pause."""

    def pending(self, stream: int, /) -> int:
        """Return how many bytes of the stream's answer wait for the client."""

    @property
    def pending_bytes(self) -> int:
        """How many bytes of all answers wait, `take()` not having returned them yet."""

    @property
    def wants_data(self) -> bool:
        """Whether the connection should go on reading."""

    # Life.

    def drain(self, now: float) -> None:
        """Take no new requests, finish those that were sent; then `Ended`."""

    def close(self, code: int, text: str) -> None:
        """End now; the next `receive` or `on_time` says `Ended`."""

    @property
    def open_requests(self) -> int:
        """How many requests have begun and are not answered whole."""

    @property
    def is_ended(self) -> bool:
        """Whether the connection is over."""
