"""All streams of a connection: what their frames mean, and how they are answered.

In: frames of streams from the reader, and what the application says. Out: events, and frames by
way of `answers` and the outbox. A mistake in a request is raised as `StreamFault`, after which the
core calls `give_up`.
"""

from __future__ import annotations

from typing import Final

from sigrun.wire.transport.events import (
    Data,
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
    DEFAULT_WINDOW,
    END_STREAM,
    PADDED,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from sigrun.wire.transport.http2.heads import Heads, HeadTooLarge
from sigrun.wire.transport.http2.outbox import Buffer, Outbox
from sigrun.wire.transport.http2.stream import Answer, Body, Stream
from sigrun.wire.transport.limits import Limits

_MAX_REMEMBERED_RESETS = 4096
_SMALL_BYTES = 64
# What ends a body and is no larger may be sent again at once, before it is taken: how much of that
# there is at a time is bounded by the number of streams. Most requests are such.
_SMALL_END_BYTES = 4096

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_ENDED: Final = Body.ENDED

# To make a NamedTuple by its own name takes twice the time: a function in Python is called for it.
_event = tuple.__new__


class Streams:
    """The streams of one connection. `now` is the time of the last thing that happened."""

    def __init__(self, limits: Limits, abuse: Abuse, outbox: Outbox, now: float) -> None:
        self._limits = limits
        self._abuse = abuse
        self._outbox = outbox
        self._answers = Answers(outbox)
        self._heads = Heads(limits)
        self._open: dict[int, Stream] = {}
        self._resets: dict[int, bool] = {}  # streams that ended early, and whether it was our doing
        self.newest = 0
        self.takes_new = True
        self.now = self.used_at = now  # `used_at`: when there last was one
        # As in `Stream`, for all streams together.
        self._received = self._consumed = self._returned = 0
        # A peer that has not read our settings yet goes by HTTP/2's default.
        self.window = max(limits.connection_window_bytes, DEFAULT_WINDOW)
        self._stream_window = max(limits.stream_window_bytes, DEFAULT_WINDOW)

    def __len__(self) -> int:
        return len(self._open)

    def clear(self) -> None:
        """Forget all streams: the connection is over."""
        self._open.clear()

    # Frames.

    def on_headers(self, flags: int, id: int, block: bytes, events: list[Event]) -> None:
        """Take a whole header block. Whatever becomes of its stream, it must be decoded."""
        if id <= self.newest:
            self._on_trailers(flags, id, block, events)
            return
        self.newest = id
        problem = None
        head: RequestHead | None
        try:
            head, length, _, _ = self._heads.request(block)
        except HeadTooLarge as error:
            head, length, problem = error.head, None, (Problem.HEAD_TOO_LARGE, error.text)
        has_ended = flags & END_STREAM != 0
        if has_ended and length:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a body shorter than promised")
        if len(self._open) >= self._limits.max_concurrent_streams or not self.takes_new:
            self._turn_away(id)
            return
        stream = self._open[id] = Stream(id, head, length, self._outbox.stream_window, self.now)
        if has_ended:
            stream.body = _ENDED
        self.used_at = self.now
        if problem is None:
            problem = self._problem(length)
        if problem is not None:
            self._refuse(stream, *problem, events)
        elif head is not None:
            events.append(_event(Head, (id, head, has_ended)))

    def _turn_away(self, id: int) -> None:
        self._remember_reset(id)
        if self.takes_new:  # else the last GOAWAY says that it is not taken
            self._abuse.count(Kind.RESETS)
            self._outbox.send(frames.rst_stream(id, ErrorCode.REFUSED_STREAM))

    def _problem(self, length: int | None) -> tuple[Problem, str] | None:
        if length is not None and length > self._limits.max_body_bytes:
            return self._body_too_large
        if self._outbox.pending_bytes > self._limits.max_pending_bytes:
            return Problem.TOO_MANY, "Too many answers wait to be read"
        return None

    def on_data(self, flags: int, id: int, payload: bytes, events: list[Event]) -> None:
        """Take some of a body."""
        credit = len(payload)
        self._received += credit
        if self._received - self._returned > self.window:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window allows")
        if flags & PADDED:
            payload = frames.unpad(flags, payload)
        stream = self._open.get(id)
        has_ended = flags & END_STREAM != 0
        if len(payload) < _SMALL_BYTES and not has_ended:
            self._abuse.count(Kind.SMALL if payload else Kind.USELESS)
        if stream is None:
            self._give_back(credit)
            self._check_is_late(id)
            return
        stream.received += credit
        if stream.received - stream.returned > self._stream_window:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window allows")
        stream.body_bytes += len(payload)
        if stream.length is not None or stream.body is _ENDED:
            _check_body(stream, has_ended)
        if has_ended:
            stream.body = _ENDED
            if credit <= _SMALL_END_BYTES:
                stream.consumed += credit
                self._give_back(credit)
                credit = 0
        elif stream.body is Body.DISCARDED or not payload:
            self.consumed(id, credit)
            return
        if stream.body_bytes > self._limits.max_body_bytes:
            self._refuse(stream, *self._body_too_large, events)
        else:
            events.append(_event(Data, (id, payload, credit, has_ended)))

    def _on_trailers(self, flags: int, id: int, block: bytes, events: list[Event]) -> None:
        stream = self._open.get(id)
        if stream is None or stream.body is _ENDED:
            self._heads.skip(block)
            if stream is not None:
                raise StreamFault(ErrorCode.STREAM_CLOSED, "trailers after the end of a request")
            self._check_is_late(id)
            return
        try:
            headers = self._heads.trailers(block)
        except HeadTooLarge as error:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, error.text) from None
        if not flags & END_STREAM:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the request")
        _check_body(stream, has_ended=True)
        if stream.body is not Body.DISCARDED:
            events.append(Trailers(id, headers))
        stream.body = _ENDED

    def _check_is_late(self, id: int) -> None:
        """Return if we reset the stream, so that this was under way; else it is a mistake."""
        is_ours = self._resets.get(id)
        if is_ours:
            return
        if is_ours is not None:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "a frame after the client's own reset")
        is_idle = id > self.newest or not id & 1
        code = ErrorCode.PROTOCOL_ERROR if is_idle else ErrorCode.STREAM_CLOSED
        raise ConnectionFault(code, "a frame of a stream that is not open")

    def on_rst_stream(self, flags: int, id: int, payload: bytes, events: list[Event]) -> None:
        """Take note that the client gave a request up."""
        code = frames.read_word(payload)
        self._check_is_not_idle(id)
        self._abuse.count(Kind.RESETS)
        stream = self._open.get(id)
        if stream is not None:
            self._remember_reset(id, is_ours=False)
            self._close(stream)
            events.append(Reset(id, code))

    def open_window(self, id: int, increment: int) -> None:
        """Let a stream send more."""
        self._check_is_not_idle(id)
        stream = self._open.get(id)
        if stream is not None:
            if not increment:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._outbox.open_stream_window(stream, increment)

    def _check_is_not_idle(self, id: int) -> None:
        if id > self.newest or not id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame of a stream not yet opened")

    # Settings.

    def change_windows(self, size: int) -> None:
        """Give all streams another window to begin with, those that are open too."""
        change = size - self._outbox.stream_window
        self._outbox.stream_window = size
        if not change:
            return
        for stream in self._open.values():
            if stream.window_out + change > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows")
            self._outbox.open_stream_window(stream, change)

    def forget_table(self) -> None:
        """Take note that the client wants a small dynamic table."""
        self._answers.forget_table()

    def settings_known(self) -> None:
        """Take note that the client has read our settings."""
        self._heads.settings_known()

    # Ends without an answer.

    @property
    def _body_too_large(self) -> tuple[Problem, str]:
        text = f"The body is larger than {self._limits.max_body_bytes} bytes"
        return Problem.BODY_TOO_LARGE, text

    def _refuse(self, stream: Stream, problem: Problem, text: str, events: list[Event]) -> None:
        """Have the application answer, or, if it already does, reset the stream."""
        if stream.answer is not Answer.NONE:
            self.give_up(stream.id, ErrorCode.CANCEL, events)
            return
        if stream.body is not _ENDED:
            stream.body = Body.DISCARDED
            self.consumed(stream.id, stream.received)
        events.append(Refused(stream.id, stream.head, problem, text))

    def give_up(self, id: int, code: int, events: list[Event]) -> None:
        """Reset a stream, and tell the application if it may know of it."""
        if id in self._open:
            events.append(Reset(id, code))
        self._reset(id, code)

    def reset(self, id: int, code: int) -> None:
        """Give up a request without an answer."""
        if id in self._open:
            self._reset(id, code)

    def _reset(self, id: int, code: int) -> None:
        self._outbox.send(frames.rst_stream(id, code))
        self._remember_reset(id)
        stream = self._open.get(id)
        if stream is not None:
            self._close(stream)

    def _remember_reset(self, id: int, *, is_ours: bool = True) -> None:
        self._resets[id] = is_ours
        if len(self._resets) > _MAX_REMEMBERED_RESETS:
            del self._resets[next(iter(self._resets))]

    def _close(self, stream: Stream) -> None:
        del self._open[stream.id]
        if stream.output is not None:
            self._outbox.discard(stream)
        if stream.received > stream.consumed:  # nobody will read it
            self._give_back(stream.received - stream.consumed)

    # Answers. What is said about a stream that is gone meanwhile is ignored.

    def respond(self, id: int, response: Response, *, head_only: bool = False) -> None:
        """Answer a request whole."""
        stream = self._open.get(id)
        if stream is not None and self._answers.respond(stream, response, head_only=head_only):
            self.finish(stream)

    def start(self, id: int, status: int, headers: Fields) -> None:
        """Begin an answer that is written in pieces."""
        stream = self._open.get(id)
        if stream is not None:
            self._answers.start(stream, status, headers)

    def write(self, id: int, data: Buffer) -> None:
        """Add to an answer."""
        stream = self._open.get(id)
        if stream is not None:
            self._answers.write(stream, data)

    def end(self, id: int, trailers: Fields | None = None) -> None:
        """End an answer."""
        stream = self._open.get(id)
        if stream is not None and self._answers.end(stream, trailers):
            self.finish(stream)

    def send_continue(self, id: int) -> None:
        """Send 100 Continue."""
        stream = self._open.get(id)
        if stream is not None:
            self._answers.send_continue(stream)

    def finish(self, stream: Stream) -> None:
        """Take note that an answer is framed whole."""
        self._abuse.answers += 1
        if stream.body is _ENDED:
            self._close(stream)
        else:  # the client need not send the rest
            self._reset(stream.id, ErrorCode.NO_ERROR)

    def pending(self, id: int) -> int:
        """Return how much of an answer waits for the client."""
        stream = self._open.get(id)
        return 0 if stream is None or stream.output is None else stream.output.size

    # Flow control of bodies.

    def consumed(self, id: int, credit: int) -> None:
        """Let the client send more: the application took what there was."""
        stream = self._open.get(id)
        if stream is None:  # what it held was given back when it closed
            return
        credit = min(credit, stream.received - stream.consumed)
        stream.consumed += credit
        self._give_back(credit)
        if stream.body is not _ENDED:
            owed = stream.consumed - stream.returned
            if owed >= self._limits.stream_window_bytes // 2:
                stream.returned += owed
                self._outbox.send(frames.window_update(id, owed))

    def _give_back(self, credit: int) -> None:
        self._consumed += credit
        owed = self._consumed - self._returned
        if owed >= self.window // 2:
            self._returned += owed
            self._outbox.send(frames.window_update(0, owed))

    # Time.

    def expect_pauses(self, id: int) -> None:
        """Ask no minimum rate of a body."""
        stream = self._open.get(id)
        if stream is not None and stream.body is Body.TIMED:
            stream.body = Body.PAUSING

    def check_bodies(
        self, now: float, elapsed_s: float, partial: tuple[int, int], events: list[Event]
    ) -> None:
        """Refuse bodies that come too slowly.

        `elapsed_s` is the time since the last look; `partial` are the stream and the bytes of a
        DATA frame that is not here whole.
        """
        limits = self._limits
        is_held_back = self._received - self._returned > self.window // 2
        late = []
        for stream in self._open.values():
            if stream.body is not Body.TIMED:
                continue
            if is_held_back or stream.received - stream.returned > self._stream_window // 2:
                stream.since += elapsed_s
                continue
            size = stream.body_bytes + (partial[1] if stream.id == partial[0] else 0)
            timed_s = now - stream.since - limits.body_grace_s
            if size < timed_s * limits.min_body_bytes_per_s:
                late.append(stream)
        for stream in late:
            self._refuse(stream, Problem.TOO_SLOW, "The body comes too slowly", events)

    def postpone(self, seconds: float) -> None:
        """Leave out a time in which we did not read."""
        for stream in self._open.values():
            stream.since += seconds

    def check_answers(self, now: float, events: list[Event]) -> None:
        """Give up answers for which the client opens no window."""
        has_window = self._outbox.window > 0
        stalled = [
            stream.id
            for stream in self._open.values()
            if stream.output
            and now - stream.output.moved_at > self._limits.stalled_s
            and not (stream.output.has_turn and has_window)
        ]
        for id in stalled:
            self.give_up(id, ErrorCode.CANCEL, events)


def _check_body(stream: Stream, has_ended: bool) -> None:
    """Check what has come of a body against its state and its promised length."""
    if stream.body is _ENDED:
        raise StreamFault(ErrorCode.STREAM_CLOSED, "data after the end of a body")
    length = stream.length
    if length is None or stream.body_bytes == length:
        return
    if has_ended or stream.body_bytes > length:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a body not as long as promised")
