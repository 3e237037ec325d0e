"""One connection of HTTP/1.0 or 1.1, sans-I/O: bytes and time in, events and bytes out.

Theory of operation. What is read (`reader`) and what is answered (`answers`) go on apart from
each other; the connection ends when both have come to their end:

    OPEN ── the reader is over, all is answered and taken ──▶ LINGERING ──▶ ENDED

- The reader is over after a refusal, after an answer that says `connection: close`, and after
  the client's last byte.
- LINGERING: all is said, but the client may still be sending. To close now would reset the
  connection, and the client could lose the answer before it has read it.
- There are no timers: `on_time` looks how long things have been as they are.
- Giving or taking an answer can allow what was waiting: another request, a writer, the end.
  `has_events` says so, and the next `receive` tells of it.
"""

from __future__ import annotations

import enum
from typing import Final

from sigrun.wire.transport.events import Ended, Event, Fields, Response
from sigrun.wire.transport.http1.answers import Answer, Answers, Piece, Stage
from sigrun.wire.transport.http1.reader import FAILED, OVER, Reader
from sigrun.wire.transport.limits import Limits

CLEAN = 0


class _Life(enum.Enum):
    OPEN = enum.auto()
    LINGERING = enum.auto()
    ENDED = enum.auto()


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_ENDED: Final = _Life.ENDED
_OPEN_ANSWER: Final = Stage.OPEN


class Http1:
    """One connection; see `events.Core` for what its methods promise.

    `Ended` has the code `CLEAN`, or `FAILED` if what the socket holds need not be sent any more.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._now = self._ticked_at = now
        self._answers = Answers()
        self._reader = Reader(limits, self._answers, now)
        self._life: _Life = _Life.OPEN
        self._lingers_since = now
        self._stalled_at, self._stalled_since = 0, now
        self._is_draining = self._has_eof = False

    # Bytes in.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer; `b""`: go on with what is here already (see `has_events`)."""
        self._now = now
        reader = self._reader
        reader.receive(data, now)
        if reader.reading is OVER or self._has_eof:
            self._approach_the_end()
        events, reader.events = reader.events, []
        return events

    def receive_eof(self, now: float) -> list[Event]:
        """Take note that the peer sends no more. What it has sent whole is still answered."""
        self._has_eof = True
        return self.receive(b"", now)

    def on_time(self, now: float) -> list[Event]:
        """End what takes too long."""
        if not self.wants_data:
            self._reader.wait(now - self._ticked_at)
        self._ticked_at = now
        if self._is_stalled(now):
            self._answers.drop_newest(len(self._answers))
            self._end(FAILED, "the client takes no more of its answer")
        elif self._life is _Life.LINGERING:
            if now - self._lingers_since >= self._limits.linger_s:
                self._end(CLEAN, "")
        elif self._reader.on_time(now, self._max_idle_s()):
            self._end(CLEAN, "")
        return self.receive(b"", now)

    @property
    def has_events(self) -> bool:
        """Whether `receive(b"", now)` has something to tell."""
        reader = self._reader
        return bool(reader.events) or (reader.is_held and reader.may_begin())

    @property
    def wants_data(self) -> bool:
        """Whether more should be read."""
        limits, answers, reader = self._limits, self._answers, self._reader
        return reader.reading is OVER or (
            answers.unread_bytes < limits.max_unread_bytes
            and answers.pending_bytes <= limits.max_untaken_bytes
            and not reader.is_held
        )

    # Answers.

    def respond(self, stream: int, response: Response, *, head_only: bool = False) -> None:
        """Answer a request whole. Raises `ValueError` for a header with a line break."""
        answer = self._find(stream, _OPEN_ANSWER)
        if answer is None:
            return
        is_early = self._reader.is_reading(answer)
        closes = is_early or self._is_last(answer)
        self._answers.respond(answer, response, closes=closes, leaves_body_out=head_only)
        if closes:
            self._read_no_more(lingers=is_early)

    def start(self, stream: int, status: int, headers: Fields) -> None:
        """Begin an answer in pieces. Raises `ValueError` for a header with a line break."""
        answer = self._find(stream, _OPEN_ANSWER)
        if answer is None:
            return
        closes = answer.is_http10 or self._is_last(answer)  # 1.0 sees the end by the close
        self._answers.begin(answer, status, headers, closes=closes)
        if closes:
            answer.keeps_alive = False
            if not self._reader.is_reading(answer):
                self._read_no_more(lingers=False)

    def write(self, stream: int, data: Piece) -> None:
        """Add to an answer."""
        answer = self._find(stream, Stage.BEGUN)
        if answer is not None:
            self._answers.write(answer, data)

    def end(self, stream: int, trailers: Fields | None = None) -> None:
        """End an answer; it has no trailers here."""
        answer = self._find(stream, Stage.BEGUN)
        if answer is not None:
            self._answers.end(answer)
            if self._reader.is_reading(answer):
                self._read_no_more(lingers=True)
            self._answers.drop_taken()
            self._rest()

    def send_continue(self, stream: int) -> None:
        """Ask for the body, if the client waits to be asked."""
        answer = self._find(stream, _OPEN_ANSWER)
        if answer is not None and self._reader.take_continue(answer):
            self._answers.add(answer, b"HTTP/1.1 100 Continue\r\n\r\n")

    def reset(self, stream: int, code: int) -> None:
        """End the connection, which is the only way to leave a request without an answer."""
        if self._answers.find(stream) is not None:
            self.close(code, "a request was given up")

    # Bytes out.

    @property
    def has_output(self) -> bool:
        """Whether `take` has something to return."""
        answers = self._answers
        return answers.pending_bytes > 0 and bool(answers[0].pieces)

    @property
    def pending_bytes(self) -> int:
        """How many bytes of all answers wait to be taken."""
        return self._answers.pending_bytes

    def pending(self, stream: int) -> int:
        """Return how many bytes of one answer wait."""
        answer = self._answers.find(stream)
        return answer.pending_bytes if answer is not None else 0

    def take(self) -> bytes:
        """Return what is to be written next."""
        answers = self._answers
        data = answers.take(self._limits.max_take_bytes)
        if not answers:
            self._rest()
        return data

    # Flow control and life.

    def consumed(self, stream: int, credit: int) -> None:
        """Take note that the application took some of a body."""
        answer = self._answers.find(stream)
        if answer is not None:
            answer.unread_bytes -= credit
            self._answers.unread_bytes -= credit

    def expect_pauses(self, stream: int) -> None:
        """Ask no minimum rate of this body."""
        answer = self._answers.find(stream)
        if answer is not None and self._reader.is_reading(answer):
            self._reader.expect_pauses()

    def drain(self, now: float) -> None:
        """Answer what was sent, then end; a request may be on its way on an idle connection."""
        self._is_draining = True
        self._reader.rest(now)

    def close(self, code: int, text: str) -> None:
        """End now. Answers that are whole, and wait for no other, can still be taken."""
        self._answers.drop_unfinished()
        self._end(code, text)

    @property
    def open_requests(self) -> int:
        """How many requests are not answered whole."""
        return sum(answer.stage is not Stage.WHOLE for answer in self._answers)

    @property
    def is_lingering(self) -> bool:
        """Whether all is said and the client is heard out: our sending side may be shut."""
        return self._life is _Life.LINGERING

    @property
    def is_ended(self) -> bool:
        """Whether the connection is over, and its output taken."""
        return self._life is _ENDED and not self._answers

    # Details.

    def _find(self, stream: int, stage: Stage) -> Answer | None:
        """Return an answer, None if it is gone. Raises `RuntimeError` if it is not at `stage`."""
        answer = self._answers.find(stream)
        if answer is not None and answer.stage is not stage:
            raise RuntimeError(f"the answer to request {stream} is {answer.stage.name}")
        return answer

    def _is_last(self, answer: Answer) -> bool:
        """Return whether no other request is answered after it."""
        if not answer.keeps_alive:
            return True
        reader = self._reader
        is_over = reader.reading is OVER or (self._is_draining and reader.is_empty)
        return is_over and answer is self._answers[-1]

    def _read_no_more(self, *, lingers: bool) -> None:
        self._reader.stop()
        self._reader.lingers |= lingers

    # The end.

    def _approach_the_end(self) -> None:
        """Take note that the client sends no more requests, or nothing more at all."""
        reader = self._reader
        if self._has_eof and reader.reading is not OVER and not reader.is_held:
            reader.end()
        self._answers.drop_taken()
        self._rest()

    def _rest(self) -> None:
        """Wait for another request, or end, if all are answered and taken."""
        if self._answers:
            return
        reader = self._reader
        if reader.reading is not OVER:
            reader.rest(self._now)
        elif self._has_eof or not reader.lingers:
            self._end(CLEAN, "")
        elif self._life is _Life.OPEN:
            self._life, self._lingers_since = _Life.LINGERING, self._now

    def _end(self, code: int, text: str) -> None:
        if self._life is not _ENDED:
            self._life = _ENDED
            self._reader.stop()
            self._reader.events.append(Ended(code, text))

    def _is_stalled(self, now: float) -> bool:
        """Return whether output has waited for too long without any of it being taken."""
        taken_bytes = self._answers.taken_bytes
        if not self.has_output or taken_bytes != self._stalled_at:
            self._stalled_at, self._stalled_since = taken_bytes, now
        return now - self._stalled_since >= self._limits.stalled_s

    def _max_idle_s(self) -> float:
        limits = self._limits
        if self._is_draining:
            return limits.drain_idle_s
        return limits.idle_s if self._answers.streams else limits.head_timeout_s
