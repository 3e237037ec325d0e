"""A client of HTTP/2, by the strict library `h2`: what it does not accept fails the test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

HOST = "127.0.0.1"
PATIENCE_S = 20.0
_GOAWAY = 7


@dataclass
class Answer:
    """What has come of one request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    reset: int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class H2Client:
    """One connection. `takes_data` False: what comes is read, and the windows stay shut."""

    def __init__(self, *, takes_data: bool = True, window: int = 65535) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        if window != 65535:
            self.h2.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
        self.takes_data = takes_data
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []  # last stream, code
        self.is_closed = asyncio.Event()
        self._may_send = asyncio.Event()
        self._rest = b""
        self._task: asyncio.Task[None] | None = None

    async def connect(
        self, port: int | None = None, *, path: str = "", tls: ssl.SSLContext | None = None
    ) -> Self:
        if path:
            streams = await asyncio.open_unix_connection(path)
        else:
            streams = await asyncio.open_connection(HOST, port, ssl=tls)
        self.reader, self.writer = streams
        self.h2.initiate_connection()
        self.flush()
        self._task = asyncio.create_task(self._read())
        return self

    def flush(self) -> None:
        if not self.writer.is_closing():
            self.writer.write(self.h2.data_to_send())

    @property
    def may_begin(self) -> bool:
        """Whether the server has not said goodbye."""
        return not self.goaways and not self.is_closed.is_set()

    def begin(
        self,
        path: str,
        *,
        method: str = "POST",
        ends: bool = True,
        content_type: str = "application/grpc",
    ) -> int:
        """Send a head; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path),
            ("content-type", content_type),
            ("te", "trailers"),
        ]
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, headers, end_stream=ends)
        self.flush()
        return stream

    async def send(self, stream: int, data: bytes, *, ends: bool = True) -> None:
        """Send a body, as the windows allow."""
        while data:
            size = min(
                self.h2.local_flow_control_window(stream),
                self.h2.max_outbound_frame_size,
                len(data),
            )
            if size <= 0:
                self._may_send.clear()
                await self._may_send.wait()
                continue
            self.h2.send_data(stream, data[:size])
            data = data[size:]
            self.flush()
        if ends:
            self.h2.end_stream(stream)
            self.flush()

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, error_code=8)
        self.flush()

    async def answer(self, stream: int) -> Answer:
        """Wait for an answer to its end."""
        async with asyncio.timeout(PATIENCE_S):
            await self.answers[stream].done.wait()
        return self.answers[stream]

    async def ask(self, path: str, body: bytes = b"") -> Answer:
        """Send a request and wait for its answer."""
        stream = self.begin(path, ends=not body)
        if body:
            await self.send(stream, body)
        return await self.answer(stream)

    async def close(self) -> None:
        if self._task is not None:
            self.writer.transport.abort()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(1 << 16):
                self._rest += data
                for event in self.h2.receive_data(self._whole_frames()):
                    self._on_event(event)
                self.flush()
                self._may_send.set()
        except ConnectionError:
            pass
        finally:
            self.is_closed.set()
            for answer in self.answers.values():
                answer.done.set()

    def _whole_frames(self) -> bytes:
        """Return what has come whole. GOAWAY is kept from `h2`, which reads no more after it."""
        frames, at = [], 0
        while len(self._rest) >= at + 9:
            end = at + 9 + int.from_bytes(self._rest[at : at + 3], "big")
            if end > len(self._rest):
                break
            frame, at = self._rest[at:end], end
            if frame[3] == _GOAWAY:
                last_stream = int.from_bytes(frame[9:13], "big")
                self.goaways.append((last_stream, int.from_bytes(frame[13:17], "big")))
            else:
                frames.append(frame)
        self._rest = self._rest[at:]
        return b"".join(frames)

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                answer = self.answers[event.stream_id]
                answer.headers = _texts(event.headers)
                answer.status = int(answer.headers[":status"])
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                if self.takes_data and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.answers[event.stream_id].trailers = _texts(event.headers)
            case h2.events.StreamEnded():
                self.answers[event.stream_id].done.set()
            case h2.events.StreamReset():
                self.answers[event.stream_id].reset = event.error_code
                self.answers[event.stream_id].done.set()


def _texts(headers: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}
