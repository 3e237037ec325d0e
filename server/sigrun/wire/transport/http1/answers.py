"""The answers of one connection: what the application says in, bytes out, in order of requests.

An answer keeps its bytes as pieces. Large ones are cut as they are taken, never copied whole.
"""

from __future__ import annotations

import enum
import functools
import http
import itertools
from collections import deque
from typing import Final

from sigrun.wire.transport.events import Fields, Response
from sigrun.wire.transport.http1.heads import Request

_SMALL_BYTES = 32 * 1024  # up to here a copy is cheaper than one more piece
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_PHRASES[499] = "Client Closed Request"
_REQUEST_ID = b"x-request-id"  # another one in each answer
_CLOSE = b"connection: close\r\n"
_KEEP_ALIVE = b"connection: keep-alive\r\n"  # HTTP/1.0 has to be told

Piece = bytes | bytearray | memoryview


class Stage(enum.Enum):
    """How far an answer is."""

    OPEN = enum.auto()  # nothing is said yet
    BEGUN = enum.auto()
    WHOLE = enum.auto()


class _Body(enum.Enum):
    """How an answer in pieces is sent."""

    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()
    LEFT_OUT = enum.auto()


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_OPEN: Final = Stage.OPEN
_WHOLE: Final = Stage.WHOLE
_CHUNKED: Final = _Body.CHUNKED


class Answer:
    """One answer, to `request`, or to one that could not be read."""

    __slots__ = (
        "body",
        "keeps_alive",
        "pending_bytes",
        "pieces",
        "request",
        "stage",
        "stream",
        "unread_bytes",
    )

    def __init__(self, stream: int, request: Request | None) -> None:
        self.stream = stream
        self.request = request
        self.keeps_alive = request is not None and request.keeps_alive
        self.stage: Stage = _OPEN
        self.body: _Body = _CHUNKED
        self.pieces: list[Piece] = []
        self.pending_bytes = 0
        self.unread_bytes = 0  # of the request's body, which the application has not consumed

    @property
    def is_http10(self) -> bool:
        """Whether the client does not know chunks."""
        return self.request is not None and self.request.is_http10


class Answers(deque[Answer]):
    """Those that are not taken whole, oldest first."""

    __slots__ = ("pending_bytes", "streams", "taken_bytes", "unread_bytes")

    def __init__(self) -> None:
        super().__init__()
        self.streams = 0  # so many there have been
        self.pending_bytes = 0  # to be taken
        self.taken_bytes = 0  # ever
        self.unread_bytes = 0  # of the bodies of their requests

    def open(self, request: Request | None) -> Answer:
        """Add one to the end."""
        self.streams += 1
        answer = Answer(self.streams, request)
        self.append(answer)
        return answer

    def find(self, stream: int) -> Answer | None:
        """Return the answer to a request, if it is still here."""
        at = stream - self[0].stream if self else -1
        return self[at] if 0 <= at < len(self) else None

    def respond(
        self, answer: Answer, response: Response, *, closes: bool, leaves_body_out: bool
    ) -> None:
        """Answer whole. Raises `ValueError` for a header that would be two."""
        status, headers, body, _, lead = response
        if lead:
            body = b"".join((lead, body))
        text = _head(status, headers)
        request = answer.request
        if closes:
            connection = _CLOSE
        else:
            connection = _KEEP_ALIVE if request is not None and request.is_http10 else b""
        if has_no_body(status):
            body, text = b"", b"%b%b\r\n" % (text, connection)
        else:
            if type(body) is memoryview:
                body = _as_bytes(body)
            text = b"%bcontent-length: %d\r\n%b\r\n" % (text, len(body), connection)
            if leaves_body_out or (request is not None and request.is_head):
                body = b""
        answer.stage = _WHOLE
        if len(body) <= _SMALL_BYTES:
            self.add(answer, text + body)
        else:
            self.add(answer, text)
            self.add(answer, body)

    def begin(self, answer: Answer, status: int, headers: Fields, *, closes: bool) -> None:
        """Begin an answer in pieces. Raises `ValueError` for a header that would be two."""
        text = _head(status, headers)
        request = answer.request
        if answer.is_http10:
            answer.body = _Body.UNTIL_CLOSE
        elif not has_no_body(status):
            text += b"transfer-encoding: chunked\r\n"
        if has_no_body(status) or (request is not None and request.is_head):
            answer.body = _Body.LEFT_OUT
        answer.stage = Stage.BEGUN
        self.add(answer, b"%b%b\r\n" % (text, _CLOSE if closes else b""))

    def write(self, answer: Answer, data: Piece) -> None:
        """Add some of the body."""
        data = _as_bytes(data)
        if answer.body is _Body.LEFT_OUT or not data:
            return
        if answer.body is _Body.UNTIL_CLOSE:
            self.add(answer, data)
        elif len(data) <= _SMALL_BYTES:
            self.add(answer, b"".join((b"%x\r\n" % len(data), data, b"\r\n")))
        else:
            for piece in (b"%x\r\n" % len(data), data, b"\r\n"):
                self.add(answer, piece)

    def end(self, answer: Answer) -> None:
        """End an answer in pieces."""
        answer.stage = _WHOLE
        if answer.body is _CHUNKED:
            self.add(answer, b"0\r\n\r\n")

    def add(self, answer: Answer, piece: Piece) -> None:
        """Add bytes as they are."""
        answer.pieces.append(piece)
        size = len(piece)
        answer.pending_bytes += size
        self.pending_bytes += size

    def take(self, max_bytes: int) -> bytes:
        """Remove and return the bytes that are due next."""
        out: list[Piece] = []
        room = max_bytes
        while self and room:
            answer = self[0]
            if answer.pending_bytes <= room:
                out += answer.pieces
                room -= answer.pending_bytes
                answer.pieces.clear()
                answer.pending_bytes = 0
            else:
                room -= _take_part(answer, room, out)
            if answer.pieces or answer.stage is not _WHOLE:
                break
            self.unread_bytes -= answer.unread_bytes
            self.popleft()
        self.taken_bytes += max_bytes - room
        self.pending_bytes -= max_bytes - room
        return out[0] if len(out) == 1 and type(out[0]) is bytes else b"".join(out)

    def drop_taken(self) -> None:
        """Forget the oldest as long as they are whole with nothing left to be taken."""
        while self and self[0].stage is _WHOLE and not self[0].pieces:
            self.unread_bytes -= self.popleft().unread_bytes

    def drop_newest(self, number: int = 1) -> None:
        """Forget the newest, whatever is pending."""
        for _ in range(number):
            answer = self.pop()
            self.pending_bytes -= answer.pending_bytes
            self.unread_bytes -= answer.unread_bytes

    def drop_unfinished(self) -> None:
        """Forget all but those that are whole and wait for no other."""
        whole = itertools.takewhile(lambda answer: answer.stage is _WHOLE, self)
        self.drop_newest(len(self) - sum(1 for _ in whole))


def has_no_body(status: int) -> bool:
    """Whether answers with this status end with their head."""
    return status < 200 or status in (204, 304)


def _head(status: int, headers: Fields) -> bytes:
    """Return status line and headers. Most answers have the same as many before, but for an id."""
    for number, field in enumerate(headers):
        if field[0] == _REQUEST_ID:
            lasting = headers[:number] + headers[number + 1 :]
            return _lasting_head(status, lasting) + _line(*field)
    return _lasting_head(status, headers)


@functools.lru_cache(maxsize=256)
def _lasting_head(status: int, headers: Fields) -> bytes:
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, "").encode())]
    lines += [_line(name, value) for name, value in headers]
    return b"".join(lines)


def _line(name: bytes, value: bytes) -> bytes:
    if b"\n" in value or b"\r" in value or b"\0" in value:
        raise ValueError(f"the header {name!r} has a line break in it: {value!r}")
    return b"%b: %b\r\n" % (name, value)


def _take_part(answer: Answer, room: int, out: list[Piece]) -> int:
    """Move up to `room` bytes from an answer to `out`; return how many."""
    taken = 0
    for number, piece in enumerate(answer.pieces):
        if taken + len(piece) > room:
            view = memoryview(piece)
            out.append(view[: room - taken])
            answer.pieces[: number + 1] = [view[room - taken :]]
            break
        out.append(piece)
        taken += len(piece)
    answer.pending_bytes -= room
    return room


def _as_bytes(data: Piece) -> Piece:
    """Return the same bytes with one byte an item."""
    if isinstance(data, memoryview) and (data.itemsize != 1 or data.ndim != 1):
        return data.cast("B") if data.nbytes else b""
    return data
