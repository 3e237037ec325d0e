"""One HTTP/2 connection, the server's side, without I/O: bytes in, events and bytes out.

    receive ─▶ reader ─▶ streams (heads) ─▶ events
    respond, start, write, end ─▶ streams (answers) ─▶ outbox ─▶ take
    on_time ─▶ slow heads and bodies, stalled answers, lifetime

A mistake that breaks the connection (`ConnectionFault`) ends it with a GOAWAY, one that breaks
a request (`StreamFault`) resets that stream. Neither leaves this module as an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sigrun.wire.transport.events import Ended, Event
from sigrun.wire.transport.http2 import frames
from sigrun.wire.transport.http2.abuse import Abuse, Kind
from sigrun.wire.transport.http2.frames import (
    ACK,
    DEFAULT_TABLE_BYTES,
    DEFAULT_WINDOW,
    MAX_STREAM,
    SETTINGS_ACK,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from sigrun.wire.transport.http2.lifetime import Lifetime, Stage, Step
from sigrun.wire.transport.http2.outbox import LARGEST_FRAME_BYTES, Outbox
from sigrun.wire.transport.http2.reader import FrameReader
from sigrun.wire.transport.http2.streams import Streams
from sigrun.wire.transport.limits import Limits

_DRAIN_PING = b"draining"
_ALIVE_PING = b"alive?\0\0"

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_OPEN: Final = Stage.OPEN
_LEAVING: Final = Stage.LEAVING
_ENDED: Final = Stage.ENDED


class Http2:
    """The core of one HTTP/2 connection; see `events.Core`."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._now = self._ticked_at = now
        self._abuse = Abuse(limits, now)
        self._reader = FrameReader(limits, self._abuse, now)
        self._outbox = Outbox(limits, self._abuse, now)
        self._streams = Streams(limits, self._abuse, self._outbox, now)
        self._lifetime = Lifetime(limits, now)
        self._farewell: Ended | None = None
        streams = self._streams  # what is said of one stream goes straight there
        self.respond, self.reset, self.consumed = streams.respond, streams.reset, streams.consumed
        self.start, self.write, self.end = streams.start, streams.write, streams.end
        self.send_continue, self.expect_pauses = streams.send_continue, streams.expect_pauses
        self.pending = streams.pending
        self._greet()

    def _greet(self) -> None:
        limits = self._limits
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams,
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            Setting.MAX_FRAME_SIZE: limits.max_frame_bytes,
            Setting.MAX_HEADER_LIST_SIZE: limits.max_head_bytes,
        }
        if limits.header_table_bytes != DEFAULT_TABLE_BYTES:
            settings[Setting.HEADER_TABLE_SIZE] = limits.header_table_bytes
        self._outbox.send(frames.settings(settings))
        if self._streams.window > DEFAULT_WINDOW:
            increment = self._streams.window - DEFAULT_WINDOW
            self._outbox.send(frames.window_update(0, increment))

    # In.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer."""
        events: list[Event] = []
        lifetime = self._lifetime
        if lifetime.stage is _OPEN or not self.is_ended:
            self._set_time(now)
            lifetime.heard_at = now
            try:
                self._receive(data, now, events)
            except ConnectionFault as fault:
                self._end(fault.code, fault.text)
        return events if lifetime.stage is _OPEN else self._with_farewell(events)

    def _receive(self, data: bytes, now: float, events: list[Event]) -> None:
        streams = self._streams
        for kind, flags, id, payload in self._reader.read(data, now):
            try:
                if kind == frames.DATA:
                    streams.on_data(flags, id, payload, events)
                elif kind == frames.HEADERS:
                    streams.on_headers(flags, id, payload, events)
                elif kind == frames.RST_STREAM:
                    streams.on_rst_stream(flags, id, payload, events)
                else:
                    _HANDLERS.get(kind, Http2._on_unknown)(self, flags, id, payload)
            except StreamFault as fault:
                self._abuse.count(Kind.CAUSED_RESETS)
                streams.give_up(id, fault.code, events)

    def receive_eof(self, now: float) -> list[Event]:
        """Take note that the peer sends no more; HTTP/2 is not half closed."""
        self._set_time(now)
        self._end(ErrorCode.NO_ERROR, "the client left its requests" if self._streams else "")
        return self._with_farewell([])

    def on_time(self, now: float) -> list[Event]:
        """Look at everything that hangs on time."""
        events: list[Event] = []
        if not self.is_ended:
            self._set_time(now)
            self._abuse.on_time(now)
            try:
                self._check_reading(now, events)
                self._check_writing(now, events)
                self._check_lifetime(now)
            except ConnectionFault as fault:
                self._end(fault.code, fault.text)
            self._ticked_at = now
        return self._with_farewell(events)

    def _set_time(self, now: float) -> None:
        self._now = self._outbox.now = self._streams.now = now

    def _with_farewell(self, events: list[Event]) -> list[Event]:
        if self.is_ended and self._lifetime.stage is not _ENDED:
            self._end(ErrorCode.NO_ERROR, "")  # its last request was answered
        if self._farewell is not None:
            events.append(self._farewell)
            self._farewell = None
        return events

    # Frames that belong to no request.

    def _on_priority(self, flags: int, id: int, payload: bytes) -> None:
        if not id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        self._abuse.count(Kind.PRIORITIES)

    def _on_settings(self, flags: int, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._abuse.count(Kind.SETTINGS)
        if not flags & ACK:
            self._apply(frames.read_settings(payload))
            self._outbox.send(SETTINGS_ACK)
        elif payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        else:
            self._streams.settings_known()

    def _apply(self, values: dict[int, int]) -> None:
        outbox = self._outbox
        self._streams.change_windows(values.get(Setting.INITIAL_WINDOW_SIZE, outbox.stream_window))
        max_frame_bytes = values.get(Setting.MAX_FRAME_SIZE, outbox.max_frame_bytes)
        outbox.max_frame_bytes = min(max_frame_bytes, LARGEST_FRAME_BYTES)
        if values.get(Setting.HEADER_TABLE_SIZE, DEFAULT_TABLE_BYTES) < DEFAULT_TABLE_BYTES:
            self._streams.forget_table()

    def _on_push_promise(self, flags: int, id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE of a client")

    def _on_ping(self, flags: int, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        self._abuse.count(Kind.PINGS)
        if not flags & ACK:
            self._outbox.send(frames.ping(payload, ACK))
        elif payload == _DRAIN_PING and self._lifetime.stage is Stage.DRAINING:
            self._leave()

    def _on_goaway(self, flags: int, id: int, payload: bytes) -> None:
        if id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self._abuse.count(Kind.USELESS)
        self.drain(self._now)

    def _on_window_update(self, flags: int, id: int, payload: bytes) -> None:
        increment = frames.read_word(payload) & frames.MAX_WINDOW
        self._abuse.count(Kind.WINDOW_UPDATES)
        if id:
            self._streams.open_window(id, increment)
        elif increment:
            self._outbox.open_window(increment)
        else:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")

    def _on_unknown(self, flags: int, id: int, payload: bytes) -> None:
        self._abuse.count(Kind.USELESS)

    # Out.

    def take(self) -> bytes:
        """Return what is to be written next."""
        for stream in self._outbox.fill():
            self._streams.finish(stream)
        return self._outbox.take()

    @property
    def has_output(self) -> bool:
        """Whether `take` has something to return."""
        return self._outbox.has_output

    @property
    def pending_bytes(self) -> int:
        """How many bytes of all answers wait."""
        return self._outbox.pending_bytes

    @property
    def wants_data(self) -> bool:
        """Whether the connection should go on reading.

        It should while only windows hold answers back: what opens them must be read.
        """
        return not self._outbox.is_full

    # Time.

    def _check_reading(self, now: float, events: list[Event]) -> None:
        """Cut off slow heads and bodies; time in which we did not read does not count."""
        elapsed_s = now - self._ticked_at
        if self.wants_data:
            self._reader.check_time(now)
            self._streams.check_bodies(now, elapsed_s, self._reader.partial_data(), events)
        else:
            self._reader.postpone(elapsed_s)
            self._streams.postpone(elapsed_s)

    def _check_writing(self, now: float, events: list[Event]) -> None:
        """Cut off who reads nothing."""
        if self._outbox.is_stalled(now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the client reads nothing")
        self._streams.check_answers(now, events)

    def _check_lifetime(self, now: float) -> None:
        lifetime, streams = self._lifetime, self._streams
        if streams:
            streams.used_at = now
        match lifetime.next_step(now, used_at=streams.used_at, was_used=streams.newest > 0):
            case Step.PING:
                self._outbox.send(frames.ping(_ALIVE_PING))
            case Step.DRAIN:
                self.drain(now)
            case Step.LEAVE:
                self._leave()
            case Step.GIVE_UP:
                self._end(ErrorCode.NO_ERROR, "the client does not answer a PING")
            case Step.END:
                self._end(ErrorCode.NO_ERROR, "the connection is too old")

    # Life.

    def drain(self, now: float) -> None:
        """Take no new requests, finish those that were sent; then `Ended`."""
        if self._lifetime.stage is Stage.OPEN:
            self._lifetime.begin_drain(now)
            self._outbox.send(frames.goaway(MAX_STREAM, ErrorCode.NO_ERROR))
            # Its answer comes after everything that the client sent before it read the GOAWAY.
            self._outbox.send(frames.ping(_DRAIN_PING))

    def _leave(self) -> None:
        self._lifetime.stage = Stage.LEAVING
        self._streams.takes_new = False
        self._outbox.send(frames.goaway(self._streams.newest, ErrorCode.NO_ERROR))

    def close(self, code: int, text: str) -> None:
        """End now."""
        self._end(code, text)

    def _end(self, code: int, text: str) -> None:
        stage = self._lifetime.stage
        if stage is Stage.ENDED:
            return
        self._lifetime.stage = Stage.ENDED
        self._streams.clear()
        self._outbox.discard_all()
        if stage is not Stage.LEAVING or code:
            self._outbox.send(frames.goaway(self._streams.newest, code, text))
        self._farewell = Ended(code, text)

    @property
    def open_requests(self) -> int:
        """How many requests have begun and are not answered whole."""
        return len(self._streams)

    @property
    def is_ended(self) -> bool:
        """Whether the connection is over."""
        stage = self._lifetime.stage
        return stage is _ENDED or (stage is _LEAVING and not self._streams)


_HANDLERS: dict[int, Callable[[Http2, int, int, bytes], None]] = {
    frames.PRIORITY: Http2._on_priority,
    frames.SETTINGS: Http2._on_settings,
    frames.PUSH_PROMISE: Http2._on_push_promise,
    frames.PING: Http2._on_ping,
    frames.GOAWAY: Http2._on_goaway,
    frames.WINDOW_UPDATE: Http2._on_window_update,
}
