"""One connection of HTTP/1.0 or 1.1, sans-I/O: bytes and time in, events and bytes out.

Theory of operation. What is read and what is answered are apart from each other:

    reading    IDLE ──▶ HEAD ──▶ SIZED or CHUNKED ──▶ IDLE ...
                 └───────┴────────┴─ the last request has been read ──▶ CLOSING
               CLOSING ─ all is answered and taken ──▶ LINGERING ──▶ ENDED
    answering  a queue of answers, in the order of their requests

- A head is looked for by its end, so that what is counted, parsed and refused is the head alone,
  and the parser never runs into the next request. Clients repeat their heads byte by byte: the
  last few are remembered with what was found in them, and not parsed again.
- A few requests are surfaced at a time. What came behind them stays where it is, with a mark up
  to where it has been read; `has_events` says when there is something to go on with.
- CLOSING: no more requests are read, and what still comes is thrown away: after a refusal, after
  an answer that says `connection: close`, after the client's last byte.
- LINGERING: all is said, but the client may still be sending. To close now would reset the
  connection, and the client could lose the answer before it has read it.
- There are no timers: `on_time` looks how long the connection has been in its state.
"""

from __future__ import annotations

import enum
import re

from sigrun.wire.transport.events import (
    Data,
    Ended,
    Event,
    Fields,
    Head,
    Problem,
    Refused,
    Reset,
    Response,
    Writable,
)
from sigrun.wire.transport.http1.answers import Answer, Answers, Piece, Stage
from sigrun.wire.transport.http1.chunks import Chunks, body_too_large
from sigrun.wire.transport.http1.heads import (
    CHUNKED,
    KnownHeads,
    Refusal,
    Request,
    head_too_large,
    malformed,
)
from sigrun.wire.transport.limits import Limits

_END_OF_HEAD = b"\r\n\r\n"
# The beginning of what may become a head, and what tells before its end that it cannot.
_METHOD = re.compile(rb"[A-Z-]{1,24}(?: |\Z)|\r?\Z")
_HOPELESS = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

CLEAN = 0
FAILED = 1  # what the socket still holds is not worth waiting for


class _Reading(enum.IntEnum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    SIZED = enum.auto()
    CHUNKED = enum.auto()
    CLOSING = enum.auto()
    LINGERING = enum.auto()
    ENDED = enum.auto()


_IN_BODY = frozenset({_Reading.SIZED, _Reading.CHUNKED})
_AT_END = frozenset({_Reading.CLOSING, _Reading.LINGERING})
_THROWS_AWAY = frozenset({_Reading.CLOSING, _Reading.LINGERING, _Reading.ENDED})


class Http1:
    """One connection; see `events.Core` for what its methods promise.

    `Ended` has the code `CLEAN`, or `FAILED` if what the socket holds need not be sent any more.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._reading = _Reading.IDLE
        self._since = now  # what the limits of this state count from
        self._now = self._ticked_at = now
        self._events: list[Event] = []  # that are not told yet
        self._input = b""  # not read yet from `_at` on, and b"" if that is nothing
        self._at = 0
        self._searched_bytes = 0  # of a head that is not here whole
        self._known = KnownHeads(limits)
        # The body that is being read.
        self._left_bytes = self._body_bytes = 0
        self._chunks = Chunks(limits)
        self._may_pause = self._awaits_continue = False
        self._answers = Answers()
        self._stalled_at, self._stalled_since = 0, now
        self._is_draining = self._has_eof = self._lingers = False

    # Bytes in.

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the peer; `b""`: go on with what is here already (see `has_events`)."""
        self._now = now
        if data:
            if self._input:
                data = self._input[self._at :] + data
            self._input, self._at = data, 0
        return self._go_on()

    def receive_eof(self, now: float) -> list[Event]:
        """Take note that the peer sends no more. What it has sent whole is still answered."""
        self._now = now
        self._has_eof = True
        return self._go_on()

    def on_time(self, now: float) -> list[Event]:
        """End what takes too long."""
        if not self.wants_data:
            self._since += now - self._ticked_at  # the client is held back
        self._now = self._ticked_at = now
        if self._is_stalled(now):
            self._answers.drop_newest(len(self._answers))
            self._end(FAILED, "the client takes no more of its answer")
        elif self._reading in _ON_TIME:
            _ON_TIME[self._reading](self, now - self._since)
        return self._go_on()

    @property
    def has_events(self) -> bool:
        """Whether there is something for `receive(b"", now)` to go on with.

        That is so when an answer is given or taken for which a request, a writer or the end of
        the connection has waited.
        """
        return bool(self._events) or (self._is_held and self._may_begin())

    @property
    def wants_data(self) -> bool:
        """Whether more should be read."""
        if self._reading in _THROWS_AWAY:
            return True
        limits, answers = self._limits, self._answers
        return (
            answers.unread_bytes < limits.max_unread_bytes
            and answers.pending_bytes <= limits.max_untaken_bytes
            and not self._is_held
        )

    # Answers.

    def respond(self, stream: int, response: Response, *, head_only: bool = False) -> None:
        """Answer a request whole. Raises `ValueError` for a header with a line break."""
        answer = self._find(stream, Stage.OPEN)
        if answer is None:
            return
        is_early = self._is_being_read(answer)
        closes = is_early or self._is_last(answer)
        self._answers.respond(answer, response, closes=closes, leaves_body_out=head_only)
        if closes:
            self._read_no_more(lingers=is_early)

    def start(self, stream: int, status: int, headers: Fields) -> None:
        """Begin an answer in pieces. Raises `ValueError` for a header with a line break."""
        answer = self._find(stream, Stage.OPEN)
        if answer is None:
            return
        closes = answer.is_http10 or self._is_last(answer)  # 1.0 sees the end by the close
        self._answers.begin(answer, status, headers, closes=closes)
        if closes:
            answer.keeps_alive = False
            if not self._is_being_read(answer):
                self._read_no_more(lingers=False)

    def write(self, stream: int, data: Piece) -> None:
        """Add to an answer."""
        answer = self._find(stream, Stage.BEGUN)
        if answer is not None:
            self._answers.write(answer, data)
            if answer.pending_bytes > self._limits.stream_output_high_bytes:
                answer.was_full = True

    def end(self, stream: int, trailers: Fields | None = None) -> None:
        """End an answer; it has no trailers here."""
        answer = self._find(stream, Stage.BEGUN)
        if answer is not None:
            self._answers.end(answer)
            if self._is_being_read(answer):
                self._read_no_more(lingers=True)
            self._rest()

    def send_continue(self, stream: int) -> None:
        """Ask for the body, if the client waits to be asked."""
        answer = self._find(stream, Stage.OPEN)
        if answer is not None and self._awaits_continue and self._is_being_read(answer):
            self._awaits_continue = False
            self._since = self._now
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
        return answers.pending_bytes > 0 and bool(answers.oldest.pieces)

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
        elif answers.oldest.was_full:
            self._tell_writable(answers.oldest)
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
        if answer is not None and self._is_being_read(answer):
            self._may_pause = True

    def drain(self, now: float) -> None:
        """Answer what was sent, then end; a request may be on its way on an idle connection."""
        self._now = now
        self._is_draining = True
        if self._reading is _Reading.IDLE:
            self._since = now

    def close(self, code: int, text: str) -> None:
        """End now. Answers that are whole, and wait for no other, can still be taken."""
        self._answers.drop_unfinished()
        self._end(code, text)

    @property
    def open_requests(self) -> int:
        """How many requests are not answered whole."""
        return self._answers.open_requests

    @property
    def is_lingering(self) -> bool:
        """Whether all is said and the client is heard out: our sending side may be shut."""
        return self._reading is _Reading.LINGERING

    @property
    def is_ended(self) -> bool:
        """Whether the connection is over, and its output taken."""
        return self._reading is _Reading.ENDED and not self._answers

    # Reading. A step returns whether another may follow.

    def _go_on(self) -> list[Event]:
        while self._at < len(self._input) and _STEPS[self._reading](self):
            pass
        if self._at >= len(self._input):
            self._input, self._at = b"", 0
        if self._has_eof and not self._is_held:
            self._read_eof()
        events, self._events = self._events, []
        return events

    def _read_head(self) -> bool:
        data, at = self._input, self._at
        while data.startswith(b"\r\n", at):  # some clients end a body so
            at += 2
            self._at = at
        if at == len(data):
            self._reading = _Reading.IDLE
            return False
        if self._reading is _Reading.IDLE and not self._may_begin():
            return False
        end = data.find(_END_OF_HEAD, at + self._searched_bytes) + len(_END_OF_HEAD)
        if end < len(_END_OF_HEAD):
            self._await_end_of_head()
            return False
        self._searched_bytes = 0
        try:
            request = self._known.read(data[at:end])
        except Refusal as refusal:
            self._refuse(self._answers.open(None), refusal)
            return False
        self._at = end
        if request.body_bytes:
            return self._begin_body(request)
        answer = self._answers.open(request)
        self._events.append(Head(answer.stream, request.head, True))
        self._reading = _Reading.IDLE if answer.keeps_alive else _Reading.CLOSING
        return True

    def _await_end_of_head(self) -> None:
        """Take a part of a head, and refuse what cannot become one."""
        if self._reading is _Reading.IDLE:
            self._reading, self._since = _Reading.HEAD, self._now
        data, at = self._input, self._at
        if len(data) - at > self._limits.max_head_bytes:
            self._refuse(self._answers.open(None), head_too_large(self._limits))
        elif _HOPELESS.search(data, at + self._searched_bytes) or not _METHOD.match(data, at):
            self._refuse(self._answers.open(None), malformed("this is not HTTP"))
        else:
            self._searched_bytes = max(0, len(data) - at - len(_END_OF_HEAD) + 1)

    def _begin_body(self, request: Request) -> bool:
        """Surface a request that has a body, and the body too if it is here whole."""
        answer, size, at = self._answers.open(request), request.body_bytes, self._at
        if size > self._limits.max_body_bytes:
            self._refuse(answer, body_too_large(self._limits))
            return False
        self._events.append(Head(answer.stream, request.head, False))
        self._body_bytes = 0
        if 0 < size <= len(self._input) - at:
            self._at = at + size
            self._take_body(self._input[at : at + size], is_end=True)
            return True
        self._since = self._now
        self._may_pause, self._awaits_continue = False, request.expects_continue
        if size == CHUNKED:
            self._reading, self._chunks = _Reading.CHUNKED, Chunks(self._limits)
        else:
            self._reading, self._left_bytes = _Reading.SIZED, size
        return True

    def _read_sized(self) -> bool:
        data, at, left = self._input, self._at, self._left_bytes
        piece = data[at : at + left]  # no copy, if it is all of it
        self._at = at + len(piece)
        self._left_bytes = left = left - len(piece)
        self._take_body(piece, is_end=not left)
        return True

    def _read_chunks(self) -> bool:
        chunks, pieces = self._chunks, list[bytes]()
        try:
            self._at = chunks.read(self._input, self._at, pieces)
        except Refusal as refusal:
            self._refuse(self._answers.newest, refusal)
            return False
        if pieces or chunks.is_done:
            self._take_body(b"".join(pieces), is_end=chunks.is_done)
        return chunks.is_done

    def _take_body(self, data: bytes, *, is_end: bool) -> None:
        answers, size = self._answers, len(data)
        answer = answers.newest
        answer.unread_bytes += size
        answers.unread_bytes += size
        self._body_bytes += size
        self._awaits_continue = False
        self._events.append(Data(answer.stream, data, size, is_end))
        if is_end:
            self._reading = _Reading.IDLE if answer.keeps_alive else _Reading.CLOSING

    def _throw_away(self) -> bool:
        self._at = len(self._input)
        self._lingers = True
        return False

    def _read_eof(self) -> None:
        """Take note that nothing follows: what is here in part stays so."""
        if self._reading in _IN_BODY:
            self._events.append(Reset(self._answers.newest.stream, CLEAN))
            self._answers.drop_newest()
        if self._reading < _Reading.CLOSING:
            self._read_no_more(lingers=False)
        self._rest()

    # Details.

    @property
    def _is_held(self) -> bool:
        """Whether a request lies here that has to wait for its turn."""
        return self._reading is _Reading.IDLE and bool(self._input)

    def _may_begin(self) -> bool:
        answers, limits = self._answers, self._limits
        return not answers or (
            len(answers) < limits.max_pipelined
            and answers.pending_bytes <= limits.max_untaken_bytes
            and not answers.newest.is_http10  # its answer may end with the connection
        )

    def _find(self, stream: int, stage: Stage) -> Answer | None:
        """Return an answer, None if it is gone. Raises `RuntimeError` if it is not at `stage`."""
        answer = self._answers.find(stream)
        if answer is not None and answer.stage is not stage:
            raise RuntimeError(f"the answer to request {stream} is {answer.stage.name}")
        return answer

    def _is_being_read(self, answer: Answer) -> bool:
        return self._reading in _IN_BODY and answer is self._answers.newest

    def _is_last(self, answer: Answer) -> bool:
        """Return whether no other request is answered after it."""
        if not answer.keeps_alive:
            return True
        if self._reading is _Reading.IDLE:
            is_last = self._is_draining and not self._input
        else:
            is_last = self._reading is _Reading.CLOSING
        return is_last and answer is self._answers.newest

    def _refuse(self, answer: Answer, refusal: Refusal) -> None:
        """Have the newest request refused by the application, and read no more."""
        self._read_no_more(lingers=True)
        if answer.stage is Stage.BEGUN:  # too late to say so
            self._events.append(Reset(answer.stream, FAILED))
            self._answers.drop_newest()
            self._rest()
            return
        answer.keeps_alive = False
        head = answer.request.head if answer.request is not None else None
        self._events.append(Refused(answer.stream, head, refusal.problem, refusal.text))

    def _read_no_more(self, *, lingers: bool) -> None:
        self._reading = max(self._reading, _Reading.CLOSING)
        self._lingers = self._lingers or lingers
        self._input, self._at = b"", 0

    def _rest(self) -> None:
        """Go on, or to the end, if all is answered and taken."""
        answers = self._answers
        answers.drop_taken()
        if answers:
            return
        if self._reading is _Reading.IDLE:
            self._since = self._now
        elif self._reading in _AT_END:
            if self._lingers and not self._has_eof:
                if self._reading is _Reading.CLOSING:
                    self._reading, self._since = _Reading.LINGERING, self._now
            else:
                self._end(CLEAN, "")

    def _tell_writable(self, answer: Answer) -> None:
        if answer.pending_bytes <= self._limits.stream_output_low_bytes:
            answer.was_full = False
            self._events.append(Writable(answer.stream))

    def _end(self, code: int, text: str) -> None:
        if self._reading is not _Reading.ENDED:
            self._read_no_more(lingers=False)
            self._reading = _Reading.ENDED
            self._events.append(Ended(code, text))

    # Time.

    def _is_stalled(self, now: float) -> bool:
        """Return whether output has waited for too long without any of it being taken."""
        taken_bytes = self._answers.taken_bytes
        if not self.has_output or taken_bytes != self._stalled_at:
            self._stalled_at, self._stalled_since = taken_bytes, now
        return now - self._stalled_since >= self._limits.stalled_s

    def _check_idle(self, age_s: float) -> None:
        limits = self._limits
        if self._is_draining:
            limit_s = limits.drain_idle_s
        else:
            limit_s = limits.idle_s if self._answers.has_been_used else limits.head_timeout_s
        if age_s >= limit_s and not self._answers and not self._input:
            self._end(CLEAN, "")

    def _check_head(self, age_s: float) -> None:
        if age_s >= self._limits.head_timeout_s:
            text = "The head of the request took too long to come"
            self._refuse(self._answers.open(None), Refusal(Problem.TOO_SLOW, text))

    def _check_body(self, age_s: float) -> None:
        limits = self._limits
        if self._awaits_continue:
            self._since = self._now  # the application has not asked for it yet
        elif self._may_pause:
            return
        elif self._body_bytes < limits.min_body_bytes_per_s * (age_s - limits.body_grace_s):
            text = f"The body took too long to come: {self._body_bytes} bytes of it are there"
            self._refuse(self._answers.newest, Refusal(Problem.TOO_SLOW, text))

    def _check_linger(self, age_s: float) -> None:
        if age_s >= self._limits.linger_s:
            self._end(CLEAN, "")


_STEPS = {
    _Reading.IDLE: Http1._read_head,
    _Reading.HEAD: Http1._read_head,
    _Reading.SIZED: Http1._read_sized,
    _Reading.CHUNKED: Http1._read_chunks,
    _Reading.CLOSING: Http1._throw_away,
    _Reading.LINGERING: Http1._throw_away,
    _Reading.ENDED: Http1._throw_away,
}
_ON_TIME = {
    _Reading.IDLE: Http1._check_idle,
    _Reading.HEAD: Http1._check_head,
    _Reading.SIZED: Http1._check_body,
    _Reading.CHUNKED: Http1._check_body,
    _Reading.LINGERING: Http1._check_linger,
}
