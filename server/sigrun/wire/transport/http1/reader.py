"""What comes in on one connection: bytes to requests, each of which opens an answer.

    IDLE ──▶ HEAD ──▶ SIZED or CHUNKED ──▶ IDLE ...
      └───────┴────────┴─ the last request has been read, or one is refused ──▶ OVER

- A head is looked for by its end, so that what is counted, parsed and refused is the head alone,
  and the parser never runs into the next request.
- A few requests are told at a time. What came behind them stays where it is, with a mark up to
  where it has been read.
- OVER: what still comes is thrown away.
"""

from __future__ import annotations

import enum
import re

from sigrun.wire.transport.events import Data, Event, Head, Problem, Refused, Reset
from sigrun.wire.transport.http1.answers import Answer, Answers, Stage
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

GIVEN_UP = 0  # codes of `Reset`: by the client, or because of what it did
FAILED = 1

_END_OF_HEAD = b"\r\n\r\n"
# The beginning of what may become a head, and what tells before its end that it cannot.
_METHOD = re.compile(rb"[A-Z-]{1,24}(?: |\Z)|\r?\Z")
_HOPELESS = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")


class Reading(enum.IntEnum):
    """What is being read."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    SIZED = enum.auto()
    CHUNKED = enum.auto()
    OVER = enum.auto()


IDLE, OVER = Reading.IDLE, Reading.OVER
IN_BODY = frozenset({Reading.SIZED, Reading.CHUNKED})


class Reader:
    """Reads requests into `events`. `lingers`: the client has sent more than is read, or may."""

    __slots__ = (
        "_answers",
        "_at",
        "_awaits_continue",
        "_body_bytes",
        "_chunks",
        "_input",
        "_known",
        "_left_bytes",
        "_limits",
        "_may_pause",
        "_now",
        "_searched_bytes",
        "_since",
        "events",
        "lingers",
        "reading",
    )

    def __init__(self, limits: Limits, answers: Answers, now: float) -> None:
        self._limits = limits
        self._answers = answers
        self.events: list[Event] = []
        self.reading = IDLE
        self.lingers = False
        self._now = self._since = now  # the latter is what limits count from
        self._known = KnownHeads(limits)
        self._input = b""  # not read yet from `_at` on, and b"" if that is nothing
        self._at = 0
        self._searched_bytes = 0  # of a head that is not here whole
        # The body that is being read.
        self._left_bytes = self._body_bytes = 0
        self._chunks = Chunks(limits)
        self._may_pause = self._awaits_continue = False

    def receive(self, data: bytes, now: float) -> None:
        """Read on, with more bytes or none."""
        self._now = now
        if data:
            if self._input:
                data = self._input[self._at :] + data
            self._input, self._at = data, 0
        while self._at < len(self._input) and _STEPS[self.reading](self):
            pass
        if self._at >= len(self._input):
            self._input, self._at = b"", 0

    def end(self) -> None:
        """Take note that nothing follows: what is here in part stays so."""
        if self.reading in IN_BODY:
            self.events.append(Reset(self._answers[-1].stream, GIVEN_UP))
            self._answers.drop_newest()
        self.stop()

    def stop(self) -> None:
        """Read no more requests."""
        self.reading = OVER
        self._input, self._at = b"", 0

    @property
    def is_empty(self) -> bool:
        """Whether all that has come was told."""
        return self.reading is IDLE and not self._input

    @property
    def is_held(self) -> bool:
        """Whether a request lies here that has to wait for its turn."""
        return self.reading is IDLE and self._input != b""

    def may_begin(self) -> bool:
        """Return whether it is the turn of another request."""
        answers, limits = self._answers, self._limits
        return not answers or (
            len(answers) < limits.max_pipelined
            and answers.pending_bytes <= limits.max_untaken_bytes
            and not answers[-1].is_http10  # its answer may end with the connection
        )

    def is_reading(self, answer: Answer) -> bool:
        """Return whether the body of this request is not here whole."""
        return self.reading in IN_BODY and answer is self._answers[-1]

    def take_continue(self, answer: Answer) -> bool:
        """Return whether the client waits to be asked for this body; from now on it does not."""
        awaits = self._awaits_continue and self.is_reading(answer)
        if awaits:
            self._awaits_continue, self._since = False, self._now
        return awaits

    def expect_pauses(self) -> None:
        """Ask no minimum rate of the body that is being read."""
        self._may_pause = True

    # Steps. Each returns whether another may follow.

    def _read_head(self) -> bool:
        data, at = self._input, self._at
        while data.startswith(b"\r\n", at):  # some clients end a body so
            at += 2
            self._at = at
        if at == len(data):
            self.reading = IDLE
            return False
        if self.reading is IDLE and not self.may_begin():
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
        self.events.append(Head(answer.stream, request.head, True))
        self.reading = IDLE if answer.keeps_alive else OVER
        return True

    def _await_end_of_head(self) -> None:
        """Take a part of a head, and refuse what cannot become one."""
        if self.reading is IDLE:
            self.reading, self._since = Reading.HEAD, self._now
        data, at = self._input, self._at
        if len(data) - at > self._limits.max_head_bytes:
            self._refuse(self._answers.open(None), head_too_large(self._limits))
        elif _HOPELESS.search(data, at + self._searched_bytes) or not _METHOD.match(data, at):
            self._refuse(self._answers.open(None), malformed("this is not HTTP"))
        else:
            self._searched_bytes = max(0, len(data) - at - len(_END_OF_HEAD) + 1)

    def _begin_body(self, request: Request) -> bool:
        """Tell of a request that has a body, and of the body too if it is here whole."""
        answer, size, at = self._answers.open(request), request.body_bytes, self._at
        if size > self._limits.max_body_bytes:
            self._refuse(answer, body_too_large(self._limits))
            return False
        self.events.append(Head(answer.stream, request.head, False))
        self._body_bytes = 0
        if 0 < size <= len(self._input) - at:
            self._at = at + size
            self._take_body(self._input[at : at + size], is_end=True)
            return True
        self._since = self._now
        self._may_pause, self._awaits_continue = False, request.expects_continue
        if size == CHUNKED:
            self.reading, self._chunks = Reading.CHUNKED, Chunks(self._limits)
        else:
            self.reading, self._left_bytes = Reading.SIZED, size
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
            self._refuse(self._answers[-1], refusal)
            return False
        if pieces or chunks.is_done:
            self._take_body(b"".join(pieces), is_end=chunks.is_done)
        return chunks.is_done

    def _take_body(self, data: bytes, *, is_end: bool) -> None:
        answers, size = self._answers, len(data)
        answer = answers[-1]
        answer.unread_bytes += size
        answers.unread_bytes += size
        self._body_bytes += size
        self._awaits_continue = False
        self.events.append(Data(answer.stream, data, size, is_end))
        if is_end:
            self.reading = IDLE if answer.keeps_alive else OVER

    def _throw_away(self) -> bool:
        self._at = len(self._input)
        self.lingers = True
        return False

    def _refuse(self, answer: Answer, refusal: Refusal) -> None:
        """Have the newest request refused by the application, and read no more."""
        self.stop()
        self.lingers = True
        if answer.stage is Stage.BEGUN:  # too late to say so
            self.events.append(Reset(answer.stream, FAILED))
            self._answers.drop_newest()
            return
        answer.keeps_alive = False
        head = answer.request.head if answer.request is not None else None
        self.events.append(Refused(answer.stream, head, refusal.problem, refusal.text))

    # Time.

    def rest(self, now: float) -> None:
        """Count the time from now on, if nothing is being read."""
        if self.reading is IDLE:
            self._since = now

    def wait(self, seconds: float) -> None:
        """Leave out a time in which the client was held back."""
        self._since += seconds

    def on_time(self, now: float, max_idle_s: float) -> bool:
        """Refuse what takes too long; return whether nothing at all has come for too long."""
        self._now = now
        age_s = now - self._since
        if self.reading is IDLE:
            return age_s >= max_idle_s and not self._answers and not self._input
        if self.reading is Reading.HEAD:
            self._check_head(age_s)
        elif self.reading in IN_BODY and not self._may_pause:
            self._check_body(age_s)
        return False

    def _check_head(self, age_s: float) -> None:
        if age_s >= self._limits.head_timeout_s:
            text = "The head of the request took too long to come"
            self._refuse(self._answers.open(None), Refusal(Problem.TOO_SLOW, text))

    def _check_body(self, age_s: float) -> None:
        limits = self._limits
        if self._awaits_continue:
            self._since = self._now  # the application has not asked for it yet
        elif self._body_bytes < limits.min_body_bytes_per_s * (age_s - limits.body_grace_s):
            text = f"The body took too long to come: {self._body_bytes} bytes of it are there"
            self._refuse(self._answers[-1], Refusal(Problem.TOO_SLOW, text))


_STEPS = {
    Reading.IDLE: Reader._read_head,
    Reading.HEAD: Reader._read_head,
    Reading.SIZED: Reader._read_sized,
    Reading.CHUNKED: Reader._read_chunks,
    Reading.OVER: Reader._throw_away,
}
