"""A core that says what the test has put into it, and a socket that keeps what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from sigrun.wire.transport.events import Ended, Event, Fields, Problem, RequestHead, Response
from sigrun.wire.transport.exchange import Exchange

OK = Response(200, (), b"ok")


class ScriptedCore:
    """Answers `receive` with what was put into `events`, and writes its answers as text."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.timed: list[Event] = []
        self.received: list[bytes] = []
        self.calls: list[Any] = []  # what was asked of it beside answers
        self.wants_data = True
        self.is_ended = False
        self.is_lingering = False
        self.held: list[Event] = []  # told when there has been an answer
        self.open_requests = 0
        self.most_at_once = 1 << 20
        self.unsent: dict[int, int] = {}  # by stream
        self.answers = 0
        self._out = bytearray()

    def receive(self, data: bytes, now: float) -> list[Event]:
        self.received.append(data)
        return self._told(self.events if data else self.held)

    def receive_eof(self, now: float) -> list[Event]:
        self.calls.append("eof")
        return self._told(self.events)

    def on_time(self, now: float) -> list[Event]:
        return self._told(self.timed)

    def _told(self, script: list[Event]) -> list[Event]:
        events, script[:] = list(script), []
        self.is_ended |= any(isinstance(event, Ended) for event in events)
        return events

    @property
    def has_output(self) -> bool:
        return bool(self._out)

    @property
    def pending_bytes(self) -> int:
        return len(self._out)

    @property
    def has_events(self) -> bool:
        return bool(self.held) and self.answers > 0

    def take(self) -> bytes:
        taken = bytes(self._out[: self.most_at_once])
        del self._out[: self.most_at_once]
        self.unsent.clear()
        return taken

    def _write(self, stream: int, data: bytes) -> None:
        self._out += data
        self.unsent[stream] = self.unsent.get(stream, 0) + len(data)

    def respond(self, stream: int, response: Response, *, head_only: bool = False) -> None:
        self.answers += 1
        body = b"" if head_only else bytes(response.body)
        self._write(stream, b"<%d %d %b>" % (stream, response.status, body))

    def start(self, stream: int, status: int, headers: Fields) -> None:
        self._write(stream, b"<%d %d " % (stream, status))

    def write(self, stream: int, data: bytes | bytearray | memoryview) -> None:
        self._write(stream, bytes(data))

    def end(self, stream: int, trailers: Fields | None = None) -> None:
        self._write(stream, b"%b>" % b" ".join(value for _, value in trailers or ()))

    def send_continue(self, stream: int) -> None:
        self._write(stream, b"<%d continue>" % stream)

    def reset(self, stream: int, code: int) -> None:
        self._write(stream, b"<%d reset>" % stream)

    def consumed(self, stream: int, credit: int) -> None:
        self.calls.append(("consumed", stream, credit))

    def expect_pauses(self, stream: int) -> None:
        self.calls.append(("expect_pauses", stream))

    def pending(self, stream: int) -> int:
        return self.unsent.get(stream, 0)

    def drain(self, now: float) -> None:
        self.calls.append("drain")

    def close(self, code: int, text: str) -> None:
        self.calls.append("close")
        self.timed.append(Ended(code, text))


class FakeTransport(asyncio.Transport):
    """Keeps each write; `fill` makes the socket full."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reads = True
        self.is_closed = self.is_aborted = False
        self.fills_after: int | None = None
        self.on_write: Callable[[], object] | None = None
        self.protocol: asyncio.BaseProtocol | None = None

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def connect(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        if self.on_write is not None:
            self.on_write()
        if self.fills_after is not None and len(self.written) >= self.fills_after:
            assert self.protocol is not None
            self.protocol.pause_writing()

    def empty(self) -> None:
        """Let the client take everything."""
        self.fills_after = None
        assert self.protocol is not None
        self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.writes.append(b"EOF")

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


class FakeApplication:
    """Serves by a coroutine function; keeps the exchanges it was given."""

    def __init__(
        self, serve: Callable[[Exchange], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        self.exchanges: list[Exchange] = []
        self._serve = serve or _ok

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        self.exchanges.append(exchange)
        return self._serve(exchange)

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        return Response(503, (), problem.name.encode())


async def _ok(exchange: Exchange) -> None:
    exchange.respond(OK)


def head(target: bytes = b"/", method: bytes = b"POST", **headers: bytes) -> RequestHead:
    return RequestHead(
        method=method,
        target=target,
        scheme=b"http",
        authority=b"localhost",
        headers={name.replace("_", "-").encode(): value for name, value in headers.items()},
        version=b"1.1",
    )
