"""One HTTP/2 connection, the server's side, without I/O: bytes in, events and bytes out.

    receive ─▶ reader ─▶ heads ─▶ streams ─▶ events
    respond, start, write, end ─▶ answers ─▶ outbox ─▶ take
    on_time ─▶ slow heads and bodies, stalled answers, lifetime

A mistake that breaks the connection (`ConnectionFault`) ends it with a GOAWAY, one that breaks
a request (`StreamFault`) resets that stream. Neither leaves this module as an exception.
"""

from __future__ import annotations

from collections.abc import Callable

from sigrun.wire.transport.events import (
    Data,
    Ended,
    Event,
    Fields,
    Head,
    Problem,
    Refused,
    RequestHead,
    Reset,
    Response,
    Trailers,
)
from sigrun.wire.transport.http2 import frames
from sigrun.wire.transport.http2.abuse import Abuse, Kind
from sigrun.wire.transport.http2.answers import Answers
from sigrun.wire.transport.http2.frames import (
    ACK,
    DEFAULT_TABLE_BYTES,
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_STREAM,
    PADDED,
    SETTINGS_ACK,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from sigrun.wire.transport.http2.heads import Heads, HeadTooLarge
from sigrun.wire.transport.http2.lifetime import Lifetime, Stage, Step
from sigrun.wire.transport.http2.outbox import LARGEST_FRAME_BYTES, Buffer, Outbox
from sigrun.wire.transport.http2.reader import FrameReader
from sigrun.wire.transport.http2.streams import Answer, Body, Stream
from sigrun.wire.transport.limits import Limits

_DRAIN_PING = b"draining"
_ALIVE_PING = b"alive?\0\0"
_MAX_REMEMBERED_RESETS = 4096


class Http2:
    """The core of one HTTP/2 connection; see `events.Core`."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._now = self._ticked_at = now
        self._abuse = Abuse(limits, now)
        self._reader = FrameReader(limits, self._abuse, now)
        self._heads = Heads(limits)
        self._streams: dict[int, Stream] = {}
        self._last_stream = 0
        self._resets: dict[int, None] = {}  # streams that ended early: what still comes is ignored
        # As in `Stream`, for all streams together.
        self._received = self._consumed = self._returned = 0
        # A peer that has not read our settings yet goes by HTTP/2's default.
        self._window = max(limits.connection_window_bytes, DEFAULT_WINDOW)
        self._stream_window = max(limits.stream_window_bytes, DEFAULT_WINDOW)
        self._outbox = Outbox(limits, self._abuse, now)
        self._answers = Answers(self._outbox)
        self._lifetime = Lifetime(limits, now)
        self._farewell: Ended | None = None
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
        if self._window > DEFAULT_WINDOW:
            self._outbox.send(frames.window_update(0, self._window - DEFAULT_WINDOW))

    # In.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer."""
        events: list[Event] = []
        if self._lifetime.stage is not Stage.ENDED:
            self._now = self._outbox.now = self._lifetime.heard_at = now
            try:
                for kind, flags, stream_id, payload in self._reader.read(data, now):
                    try:
                        _HANDLERS[kind](self, flags, stream_id, payload, events)
                    except StreamFault as fault:
                        self._abuse.count(Kind.CAUSED_RESETS)
                        self._give_up(stream_id, fault.code, events)
            except ConnectionFault as fault:
                self._end(fault.code, fault.text)
        self._say_farewell(events)
        return events

    def receive_eof(self, now: float) -> list[Event]:
        """Take note that the peer sends no more; HTTP/2 is not half closed."""
        events: list[Event] = []
        self._now = now
        if self._lifetime.stage is not Stage.ENDED:
            self._end(ErrorCode.NO_ERROR, "the client left its requests" if self._streams else "")
        self._say_farewell(events)
        return events

    def on_time(self, now: float) -> list[Event]:
        """Look at everything that hangs on time."""
        events: list[Event] = []
        if self._lifetime.stage is not Stage.ENDED:
            self._now = self._outbox.now = now
            self._abuse.on_time(now)
            try:
                self._check_reading(now, events)
                self._check_writing(now, events)
                self._check_lifetime(now)
            except ConnectionFault as fault:
                self._end(fault.code, fault.text)
            self._ticked_at = now
        self._say_farewell(events)
        return events

    def _say_farewell(self, events: list[Event]) -> None:
        if self._farewell is not None:
            events.append(self._farewell)
            self._farewell = None

    # Requests.

    def _on_headers(self, flags: int, stream_id: int, block: bytes, events: list[Event]) -> None:
        """Take a whole header block. Whatever becomes of its stream, it must be decoded."""
        if stream_id <= self._last_stream:
            self._on_trailers(flags, stream_id, block, events)
            return
        self._last_stream = stream_id
        try:
            head, length, _, _ = self._heads.request(block)
        except HeadTooLarge as error:
            if self._may_begin(stream_id):
                stream = self._begin(stream_id, flags, error.head, None)
                self._refuse(stream, Problem.HEAD_TOO_LARGE, error.text, events)
            return
        if flags & END_STREAM and length:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a body shorter than promised")
        if not self._may_begin(stream_id):
            return
        stream = self._begin(stream_id, flags, head, length)
        if length is not None and length > self._limits.max_body_bytes:
            self._refuse_body(stream, events)
        elif self._outbox.pending_bytes > self._limits.max_pending_bytes:
            self._refuse(stream, Problem.TOO_MANY, "Too many answers wait to be read", events)
        else:
            events.append(Head(stream_id, head, flags & END_STREAM != 0))

    def _may_begin(self, stream_id: int) -> bool:
        if self._lifetime.stage is Stage.LEAVING:  # the last GOAWAY says that it is not taken
            self._remember_reset(stream_id)
            return False
        if len(self._streams) < self._limits.max_concurrent_streams:
            return True
        self._abuse.count(Kind.RESETS)
        self._outbox.send(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
        self._remember_reset(stream_id)
        return False

    def _begin(
        self, stream_id: int, flags: int, head: RequestHead | None, length: int | None
    ) -> Stream:
        stream = Stream(stream_id, head, length, self._outbox.stream_window, self._now)
        if flags & END_STREAM:
            stream.body = Body.ENDED
        self._streams[stream_id] = stream
        self._lifetime.used_at = self._now
        return stream

    def _on_data(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        credit = len(payload)
        self._received += credit
        if self._received - self._returned > self._window:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window allows")
        if flags & PADDED:
            payload = frames.unpad(flags, payload)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_is_late(stream_id)
            self._give_back(credit)
            return
        stream.received += credit
        if stream.received - stream.returned > self._stream_window:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window allows")
        stream.body_bytes += len(payload)
        has_ended = flags & END_STREAM != 0
        self._check_body(stream, has_ended)
        if has_ended:
            stream.body = Body.ENDED
        elif not payload:
            self._abuse.count(Kind.EMPTY_FRAMES)
        if stream.body is Body.DISCARDED or not (payload or has_ended):
            self.consumed(stream_id, credit)
        elif stream.body_bytes > self._limits.max_body_bytes:
            self._refuse_body(stream, events)
        else:
            events.append(Data(stream_id, payload, credit, has_ended))

    def _check_body(self, stream: Stream, has_ended: bool) -> None:
        """Check what has come of a body against its state and its promised length."""
        if stream.body is Body.ENDED:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "data after the end of a body")
        length = stream.length
        if length is None or stream.body_bytes == length:
            return
        if has_ended or stream.body_bytes > length:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a body not as long as promised")

    def _on_trailers(self, flags: int, stream_id: int, block: bytes, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_is_late(stream_id)
            self._heads.skip(block)
            return
        try:
            headers = self._heads.trailers(block)
        except HeadTooLarge as error:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, error.text) from None
        if not flags & END_STREAM:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the request")
        self._check_body(stream, has_ended=True)
        if stream.body is not Body.DISCARDED:
            events.append(Trailers(stream_id, headers))
        stream.body = Body.ENDED

    def _check_is_late(self, stream_id: int) -> None:
        """Raise ConnectionFault unless the stream was reset, and this was already under way."""
        if stream_id not in self._resets:
            is_idle = stream_id > self._last_stream or not stream_id & 1
            code = ErrorCode.PROTOCOL_ERROR if is_idle else ErrorCode.STREAM_CLOSED
            raise ConnectionFault(code, "a frame of a stream that is not open")

    def _refuse_body(self, stream: Stream, events: list[Event]) -> None:
        text = f"The body is larger than {self._limits.max_body_bytes} bytes"
        self._refuse(stream, Problem.BODY_TOO_LARGE, text, events)

    def _refuse(self, stream: Stream, problem: Problem, text: str, events: list[Event]) -> None:
        """Have the application answer, or, if it already does, reset the stream."""
        if stream.answer is not Answer.NONE:
            self._give_up(stream.id, ErrorCode.CANCEL, events)
            return
        if stream.body is not Body.ENDED:
            stream.body = Body.DISCARDED
            self.consumed(stream.id, stream.received)
        events.append(Refused(stream.id, stream.head, problem, text))

    def _give_up(self, stream_id: int, code: int, events: list[Event]) -> None:
        """Reset a stream, and tell the application if it may know of it."""
        if stream_id in self._streams:
            events.append(Reset(stream_id, code))
        self.reset(stream_id, code)

    # All other frames.

    def _on_priority(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        if len(payload) != 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        self._abuse.count(Kind.PRIORITIES)

    def _on_rst_stream(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        code = frames.read_word(payload)
        self._check_is_not_idle(stream_id)
        self._abuse.count(Kind.RESETS)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._remember_reset(stream_id)
            self._close(stream)
            events.append(Reset(stream_id, code))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._abuse.count(Kind.SETTINGS)
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
            self._heads.settings_known()
            return
        self._apply(frames.read_settings(payload))
        self._outbox.send(SETTINGS_ACK)

    def _apply(self, values: dict[int, int]) -> None:
        outbox = self._outbox
        window = values.get(Setting.INITIAL_WINDOW_SIZE, outbox.stream_window)
        change = window - outbox.stream_window
        outbox.stream_window = window
        if change:
            for stream in self._streams.values():
                if stream.window_out + change > frames.MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window overflows")
                outbox.open_stream_window(stream, change)
        max_frame_bytes = values.get(Setting.MAX_FRAME_SIZE, outbox.max_frame_bytes)
        outbox.max_frame_bytes = min(max_frame_bytes, LARGEST_FRAME_BYTES)
        if values.get(Setting.HEADER_TABLE_SIZE, DEFAULT_TABLE_BYTES) < DEFAULT_TABLE_BYTES:
            self._answers.forget_table()

    def _on_push_promise(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE of a client")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
        self._abuse.count(Kind.PINGS)
        if not flags & ACK:
            self._outbox.send(frames.ping(payload, ACK))
        elif payload == _DRAIN_PING and self._lifetime.stage is Stage.DRAINING:
            self._leave()

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of a wrong size")
        self.drain(self._now)

    def _on_window_update(
        self, flags: int, stream_id: int, payload: bytes, events: list[Event]
    ) -> None:
        increment = frames.read_word(payload) & frames.MAX_WINDOW
        self._abuse.count(Kind.WINDOW_UPDATES)
        if not stream_id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._outbox.open_window(increment)
            return
        self._check_is_not_idle(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if not increment:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._outbox.open_stream_window(stream, increment)

    def _check_is_not_idle(self, stream_id: int) -> None:
        if stream_id > self._last_stream or not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame of a stream not yet opened")

    def _on_unknown(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        self._abuse.count(Kind.EMPTY_FRAMES)

    # Out.

    def take(self) -> bytes:
        """Return what is to be written next."""
        for stream in self._outbox.fill():
            self._finish(stream)
        return self._outbox.take()

    @property
    def has_output(self) -> bool:
        """Whether `take` has something to return."""
        return self._outbox.has_output

    def respond(self, stream: int, response: Response, *, head_only: bool = False) -> None:
        """Answer a request whole."""
        open_stream = self._streams.get(stream)
        if open_stream is not None and self._answers.respond(
            open_stream, response, head_only=head_only
        ):
            self._finish(open_stream)

    def start(self, stream: int, status: int, headers: Fields) -> None:
        """Begin an answer that is written in pieces."""
        open_stream = self._streams.get(stream)
        if open_stream is not None:
            self._answers.start(open_stream, status, headers)

    def write(self, stream: int, data: Buffer) -> None:
        """Add to an answer."""
        open_stream = self._streams.get(stream)
        if open_stream is not None:
            self._answers.write(open_stream, data)

    def end(self, stream: int, trailers: Fields | None = None) -> None:
        """End an answer."""
        open_stream = self._streams.get(stream)
        if open_stream is not None and self._answers.end(open_stream, trailers):
            self._finish(open_stream)

    def send_continue(self, stream: int) -> None:
        """Send 100 Continue."""
        open_stream = self._streams.get(stream)
        if open_stream is not None:
            self._answers.send_continue(open_stream)

    def reset(self, stream: int, code: int) -> None:
        """Give up a request without an answer."""
        self._outbox.send(frames.rst_stream(stream, code))
        self._remember_reset(stream)
        open_stream = self._streams.get(stream)
        if open_stream is not None:
            self._close(open_stream)

    def _finish(self, stream: Stream) -> None:
        """Take note that an answer is framed whole."""
        self._abuse.answers += 1
        if stream.body is Body.ENDED:
            self._close(stream)
        else:  # the client need not send the rest
            self.reset(stream.id, ErrorCode.NO_ERROR)

    def _close(self, stream: Stream) -> None:
        del self._streams[stream.id]
        if stream.output is not None:
            self._outbox.discard(stream)
        if stream.received > stream.consumed:  # nobody will read it
            self._give_back(stream.received - stream.consumed)
        if not self._streams and self._lifetime.stage is Stage.LEAVING:
            self._end(ErrorCode.NO_ERROR, "")

    def _remember_reset(self, stream_id: int) -> None:
        self._resets[stream_id] = None
        if len(self._resets) > _MAX_REMEMBERED_RESETS:
            del self._resets[next(iter(self._resets))]

    # Flow control.

    def consumed(self, stream: int, credit: int) -> None:
        """Let the client send `credit` more bytes."""
        open_stream = self._streams.get(stream)
        if open_stream is None:  # what it held was given back when it closed
            return
        credit = min(credit, open_stream.received - open_stream.consumed)
        open_stream.consumed += credit
        self._give_back(credit)
        if open_stream.body is not Body.ENDED:
            owed = open_stream.consumed - open_stream.returned
            if owed >= self._limits.stream_window_bytes // 2:
                open_stream.returned += owed
                self._outbox.send(frames.window_update(stream, owed))

    def _give_back(self, credit: int) -> None:
        self._consumed += credit
        owed = self._consumed - self._returned
        if owed >= self._window // 2:
            self._returned += owed
            self._outbox.send(frames.window_update(0, owed))

    def expect_pauses(self, stream: int) -> None:
        """Ask no minimum rate of this body."""
        open_stream = self._streams.get(stream)
        if open_stream is not None and open_stream.body is Body.TIMED:
            open_stream.body = Body.PAUSING

    def pending(self, stream: int) -> int:
        """Return how many bytes of the stream's answer wait for the client."""
        open_stream = self._streams.get(stream)
        if open_stream is None or open_stream.output is None:
            return 0
        return open_stream.output.size

    @property
    def pending_bytes(self) -> int:
        """How many bytes of all answers wait."""
        return self._outbox.pending_bytes

    @property
    def wants_data(self) -> bool:
        """Whether the connection should go on reading.

        It should while only windows hold answers back: what opens them must be read.
        """
        return self._outbox.untaken_bytes <= self._limits.max_untaken_bytes

    # Time.

    def _check_reading(self, now: float, events: list[Event]) -> None:
        """Cut off slow heads and bodies."""
        elapsed_s = now - self._ticked_at
        if not self.wants_data:
            self._reader.postpone(elapsed_s)
        self._reader.check_time(now)
        is_held_back = not self.wants_data or self._received - self._returned > self._window // 2
        partial_stream, partial_bytes = self._reader.partial_data()
        late = []
        for stream in self._streams.values():
            if stream.body is not Body.TIMED:
                continue
            if is_held_back or stream.received - stream.returned > self._stream_window // 2:
                stream.since += elapsed_s
                continue
            size = stream.body_bytes + (partial_bytes if stream.id == partial_stream else 0)
            timed_s = now - stream.since - self._limits.body_grace_s
            if size < timed_s * self._limits.min_body_bytes_per_s:
                late.append(stream)
        for stream in late:
            self._refuse(stream, Problem.TOO_SLOW, "The body comes too slowly", events)

    def _check_writing(self, now: float, events: list[Event]) -> None:
        """Cut off who reads nothing."""
        if self._outbox.is_stalled(now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the client reads nothing")
        stalled = [
            stream.id
            for stream in self._streams.values()
            if stream.output and now - stream.output.moved_at > self._limits.stalled_s
        ]
        for stream_id in stalled:
            self._give_up(stream_id, ErrorCode.CANCEL, events)

    def _check_lifetime(self, now: float) -> None:
        is_idle, was_used = not self._streams, self._last_stream > 0
        match self._lifetime.next_step(now, is_idle=is_idle, was_used=was_used):
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
        self._outbox.send(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
        if not self._streams:
            self._end(ErrorCode.NO_ERROR, "")

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
            self._outbox.send(frames.goaway(self._last_stream, code, text))
        self._farewell = Ended(code, text)

    @property
    def open_requests(self) -> int:
        """How many requests have begun and are not answered whole."""
        return len(self._streams)

    @property
    def is_ended(self) -> bool:
        """Whether the connection is over."""
        return self._lifetime.stage is Stage.ENDED


_Handler = Callable[[Http2, int, int, bytes, list[Event]], None]
_KNOWN_HANDLERS: tuple[_Handler, ...] = (  # in the order of the frames' numbers
    Http2._on_data,
    Http2._on_headers,
    Http2._on_priority,
    Http2._on_rst_stream,
    Http2._on_settings,
    Http2._on_push_promise,
    Http2._on_ping,
    Http2._on_goaway,
    Http2._on_window_update,
)
_HANDLERS = _KNOWN_HANDLERS + (Http2._on_unknown,) * (256 - len(_KNOWN_HANDLERS))
