"""One request and its answer, and how much either side may send of them.

    request:  TIMED or PAUSING ──END_STREAM──▶ ENDED      DISCARDED after a refusal
    answer:   NONE ──▶ STARTED ──▶ QUEUED

A stream exists from its HEADERS until its answer is framed whole. If its request has not ended
by then, it is reset with NO_ERROR: the client need not send the rest.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

from sigrun.wire.transport.events import RequestHead


class Body(enum.Enum):
    """How the rest of a request's body is read."""

    TIMED = enum.auto()  # it must come at the minimum rate
    PAUSING = enum.auto()  # a streaming call's: the client may pause
    DISCARDED = enum.auto()  # refused: what still comes is thrown away
    ENDED = enum.auto()


class Answer(enum.Enum):
    """How far an answer is."""

    NONE = enum.auto()
    STARTED = enum.auto()
    QUEUED = enum.auto()  # whole, and waits for the client to take it


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_TIMED: Final = Body.TIMED
_NONE: Final = Answer.NONE


class Output:
    """What waits of one answer."""

    __slots__ = ("has_turn", "last", "moved_at", "moved_bytes", "pieces", "size")

    def __init__(self, now: float) -> None:
        self.pieces: deque[memoryview] = deque()
        self.size = 0
        self.last: bytes | None = None  # the block of trailers after it, b"" for none
        self.has_turn = False  # it is among those that take turns
        self.moved_at = now  # when the client last let a fair amount of it go
        self.moved_bytes = 0  # since then


class Stream:
    """One request and its answer."""

    __slots__ = (
        "answer",
        "body",
        "body_bytes",
        "consumed",
        "head",
        "id",
        "length",
        "output",
        "received",
        "returned",
        "since",
        "window_out",
    )

    def __init__(
        self, id: int, head: RequestHead | None, length: int | None, window_out: int, now: float
    ) -> None:
        self.id = id
        self.head = head
        self.length = length  # of the body, as promised
        self.body: Body = _TIMED
        self.answer: Answer = _NONE
        self.since = now  # when the body began, moved on by the time in which we held it back
        self.body_bytes = 0
        # Of DATA frames, padding included: what came, what the application has taken, and what
        # the client was told so. Its window is what it began with + returned - received.
        self.received = self.consumed = self.returned = 0
        self.window_out = window_out  # what the client lets us send
        self.output: Output | None = None
