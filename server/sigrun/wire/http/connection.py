"""HTTP/1.1 on one connection: bytes in, one request after the other, bytes out.

Theory of operation. `httptools` reads the bytes and calls back; what it has read whole is
answered by a task, in the order of arrival, and an answer is written in one piece with its
head. What is being read is apart from what is being answered:

    reading    IDLE ──first byte──▶ HEAD ──▶ BODY ──▶ IDLE
                 └──────────────────┴─────────┴─ too large, too slow, no HTTP ──▶ CLOSED
    answering  a task, or None

- There are no timers. A connection knows by when it wants to have read more, or the client
  to have taken more, and whoever owns it asks in regular turns whether that has passed.
- While a request is answered no more than one other is read; reading stops until it is its
  turn. A client that leaves meanwhile is noticed, and its request cancelled.
- After a refusal, the rest of what the client sends is thrown away for a while: it would
  see a broken connection in place of the refusal otherwise.
- An `Upgrade` is passed over, as HTTP allows. Java's client asks for HTTP/2 in that way with
  its first request, body and all.
"""

from __future__ import annotations

import asyncio
import enum
import http
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from sigrun.config.server import HttpOptions
from sigrun.errors import InvalidArgument, SigrunError, Unavailable
from sigrun.wire.body import Body
from sigrun.wire.http.messages import (
    HeadTooLarge,
    HttpRequest,
    HttpResponse,
    RequestTooLarge,
    RequestTooSlow,
)

logger = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 64 * 1024
_IDLE_S = 75.0
_LINGER_S = 2.0
_STALLED_S = 60.0  # for a client to take some more of its answer
# A body that goes on coming at this rate is waited for as long as it takes.
_MIN_BODY_BYTES_PER_S = 64 * 1024
# What the socket does not take at once is copied by the transport, so it gets no more.
_CHUNK_BYTES = 256 * 1024
_MUCH_BYTES = 32 * 1024  # of a body, at once
_FOREVER = float("inf")

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_PHRASES[499] = "Client Closed Request"
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {phrase}\r\n".encode() for status, phrase in _PHRASES.items()
}
_OF_AN_UPGRADE = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Application(Protocol):
    """Answers requests; neither method raises."""

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request."""

    def refusal(self, error: SigrunError) -> HttpResponse:
        """Return what is said to a client whose request is not read to its end."""


class _Reading(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    CLOSED = enum.auto()


class Connection(asyncio.Protocol):
    """One connection. `on_made` and `on_lost` are called with it when it begins and ends."""

    def __init__(
        self,
        app: Application,
        options: HttpOptions,
        *,
        on_made: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._app = app
        self._options = options
        self._on_made, self._on_lost = on_made, on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._reading = _Reading.IDLE
        self._read_by = self._loop.time() + options.head_timeout_s
        self._write_by = _FOREVER
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[HttpRequest | SigrunError, bool]] = deque()
        self._is_paused = self._is_lost = self._is_draining = self._is_writing = False
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._begin()

    def _begin(self) -> None:
        """Make ready for the next request."""
        self._head_bytes = self._body_bytes = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: Body = b""
        self._keeps_alive = True
        self._is_upgrade = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._on_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is being answered: nobody is there any more."""
        self._is_lost = True
        self._reading = _Reading.CLOSED
        self._waiting.clear()
        self._may_write.set()
        if self._task is not None:
            self._task.cancel()
        del self._parser  # it knows this object, which would be garbage that is hard to find
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Wait with the rest of an answer until the client has taken some."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Go on with an answer."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self._reading is _Reading.CLOSED:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay_with_http1(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(InvalidArgument(f"What came is no HTTP request: {error}"))
        if self._reading is _Reading.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"The head is larger than {_MAX_HEAD_BYTES} bytes"))
        elif self._reading is _Reading.BODY and len(data) >= _MUCH_BYTES:
            # The event loop would go on with this socket for megabytes before it looks at others.
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        if self._reading is not _Reading.CLOSED:
            self._begin()
            self._read(_Reading.HEAD, self._options.head_timeout_s)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one that is sent several times is a list."""
        name = name.lower()
        if name in self._headers:
            value = self._headers[name] + b", " + value
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Take the body from here on, unless it is known to be too large."""
        parser = self._parser
        if parser.should_upgrade():
            self._is_upgrade = True
            return
        self._keeps_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        if self._reading is not _Reading.CLOSED:
            self._read(_Reading.BODY, self._options.body_timeout_s)
        self._check_size(int(self._headers.get(b"content-length", b"0")))
        if b"expect" in self._headers and self._reading is _Reading.BODY and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(chunk)
        self._read_by += len(chunk) / _MIN_BODY_BYTES_PER_S
        self._check_size(self._body_bytes)
        if self._reading is _Reading.CLOSED:
            return
        if not self._body:
            self._body = chunk
        elif isinstance(self._body, bytearray):
            self._body += chunk  # moves pages, not bytes: no chunk waits for all that came before
        else:
            self._body = bytearray(self._body) + chunk

    def on_message_complete(self) -> None:
        """Have the request answered, when those before it are."""
        if self._is_upgrade or self._reading is _Reading.CLOSED:
            return
        request = HttpRequest(
            method=self._parser.get_method().decode(),
            target=_target(self._url),
            headers=self._headers,
            body=self._body,
        )
        self._body = b""
        self._read(_Reading.IDLE, _IDLE_S)
        self._put(request)

    # What its owner calls.

    def give_up_if_due(self, now: float) -> None:
        """End what takes too long at `now`, in the time of the loop."""
        if now >= self._write_by:
            self._transport.abort()
        elif self._task is None and now >= self._read_by:
            match self._reading:
                case _Reading.HEAD:
                    self._refuse(RequestTooSlow("The head of the request took too long to come"))
                case _Reading.BODY:
                    self._refuse(
                        RequestTooSlow(
                            "The body took too long to come: "
                            f"{self._body_bytes} bytes of it are there"
                        )
                    )
                case _:
                    self._transport.close()

    def drain(self) -> None:
        """Close when what is being sent and answered is done, at once if there is nothing."""
        self._is_draining = True
        if self._task is None and self._reading is not _Reading.BODY:
            self._transport.close()

    def cut(self) -> None:
        """Close now; whose request is not done is told so."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._stop()

    def _read(self, reading: _Reading, limit_s: float) -> None:
        self._reading = reading
        self._read_by = self._loop.time() + limit_s

    def _check_size(self, body_bytes: int) -> None:
        max_bytes = self._options.max_body_bytes
        if body_bytes > max_bytes:
            self._refuse(RequestTooLarge(f"The body is larger than {max_bytes} bytes"))

    def _stay_with_http1(self, rest: bytes) -> None:
        """Read the request again as if it had not asked for another protocol."""
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(InvalidArgument("CONNECT is not served: this is no proxy"))
            return
        head = [method + b" " + self._url + b" HTTP/1.1"]
        head += [
            name + b": " + value
            for name, value in self._headers.items()
            if name not in _OF_AN_UPGRADE
        ]
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    def _refuse(self, error: SigrunError) -> None:
        """Answer what is not read to its end, and close."""
        if self._reading is not _Reading.CLOSED:
            self._reading, self._keeps_alive, self._body = _Reading.CLOSED, False, b""
            self._put(error)

    def _put(self, item: HttpRequest | SigrunError) -> None:
        self._waiting.append((item, self._keeps_alive))
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all(), name="http request")
        elif not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    async def _answer_all(self) -> None:
        """Answer what waits, until nothing does."""
        try:
            while self._waiting:
                item, keeps_alive = self._waiting.popleft()
                if isinstance(item, SigrunError):
                    await self._write(self._app.refusal(item), keeps_alive=False)
                    self._close_after_refusal()
                    return
                response = await self._app.respond(item)
                keeps_alive = keeps_alive and not self._is_draining
                await self._write(response, keeps_alive=keeps_alive, is_head=item.method == "HEAD")
                if not keeps_alive:
                    self._transport.close()
                    return
            self._wait_for_more()
        except asyncio.CancelledError:
            self._stop()
        except Exception:
            logger.exception("an answer could not be written")
            self._transport.abort()

    def _wait_for_more(self) -> None:
        self._task = None
        # What has begun to come has had to wait for others.
        self._read_by = self._loop.time() + _IDLE_S
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    async def _write(
        self, response: HttpResponse, *, keeps_alive: bool, is_head: bool = False
    ) -> None:
        head = _head(response, keeps_alive=keeps_alive)
        body = b"" if is_head else response.body
        if len(body) <= _CHUNK_BYTES:
            self._transport.write(head + body)
            return
        self._is_writing = True
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), _CHUNK_BYTES):
            self._write_by = self._loop.time() + _STALLED_S
            await self._may_write.wait()
            self._transport.write(view[start : start + _CHUNK_BYTES])
        self._is_writing, self._write_by = False, _FOREVER

    def _stop(self) -> None:
        """End because the client has left, or because the server's grace time has."""
        if self._is_lost:
            return
        if self._is_writing or (self._task is None and self._reading is not _Reading.BODY):
            self._transport.abort()
            return
        refusal = self._app.refusal(Unavailable("The server is stopping"))
        self._transport.write(_head(refusal, keeps_alive=False) + refusal.body)
        self._transport.close()

    def _close_after_refusal(self) -> None:
        self._task = None
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._read_by = self._loop.time() + _LINGER_S
        else:
            self._transport.close()


def _target(url: bytes) -> str:
    """Return the path and query of a request; a proxy's client sends a whole URL."""
    if not url.startswith((b"/", b"*")):
        parsed = httptools.parse_url(url)
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    return url.decode("latin-1")


def _head(response: HttpResponse, *, keeps_alive: bool) -> bytes:
    """Return status line and headers. Raises `ValueError` for a header that is two."""
    pieces = [
        _STATUS_LINES[response.status],
        b"content-type: %b\r\ncontent-length: %d\r\n" % (response.content_type, len(response.body)),
    ]
    for name, value in response.headers:
        if b"\n" in value or b"\r" in value:
            raise ValueError(f"the header {name!r} has a line break in it: {value!r}")
        pieces += (name, b": ", value, b"\r\n")
    pieces.append(b"\r\n" if keeps_alive else b"connection: close\r\n\r\n")
    return b"".join(pieces)
