"""One request and its answer, as an application sees them, whatever is spoken.

In: what the connection was told by its core: a head, pieces of a body, its end, a reset. Out:
calls of the core, and a note to the connection that there is something to write.

    body      some of it here ──▶ all here
    answer    NONE ──respond──▶ SENT
                └──start──▶ STARTED ──finish──▶ SENT          GONE: nobody is there to take it
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from sigrun.concurrency.budget import Growth
from sigrun.errors import ResourceExhausted
from sigrun.wire.transport.assembly import Assembly
from sigrun.wire.transport.events import Fields, Headers, Problem, RequestHead, Response
from sigrun.wire.transport.stepping import suspend

if TYPE_CHECKING:
    from sigrun.wire.transport.connection import Connection

_NO_HEADERS: Headers = {}

# A body that is whole and no larger is not counted: what it takes is bounded by the number of
# requests, and most requests are such.
_SMALL_BYTES = 4096


class BodyTooLarge(ResourceExhausted):
    """The body is larger than the application takes."""


class Answer(enum.Enum):
    """How far the answer to a request is."""

    NONE = enum.auto()
    STARTED = enum.auto()
    SENT = enum.auto()
    GONE = enum.auto()  # the client has left, or has given the request up


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_NONE: Final = Answer.NONE
_STARTED: Final = Answer.STARTED
_SENT: Final = Answer.SENT
_GONE: Final = Answer.GONE


class Exchange:
    """A request, its body and its answer. It belongs to the coroutine that serves it."""

    __slots__ = (
        "_connection",
        "_core",
        "_growth",
        "_has_whole_body",
        "_news",
        "_pieces",
        "answer",
        "arrived_at",
        "credit",
        "head",
        "held_bytes",
        "is_counted",
        "peer",
        "stream",
        "task",
        "trailers",
    )

    def __init__(
        self,
        connection: Connection,
        stream: int,
        head: RequestHead,
        has_whole_body: bool,
        now: float,
    ) -> None:
        self.head = head
        self.peer = connection.peer  # `192.0.2.1:5000`, `[2001:db8::1]:5000` or `unix:`
        self.stream = stream
        self.arrived_at = now  # in the time of the loop
        self.answer = _NONE
        self.task: asyncio.Task[None] | None = None  # as long as it needs none: None
        self.trailers = _NO_HEADERS
        self.credit = 0  # bytes of the body that are not given back yet
        self.is_counted = False  # in the budget: `held_bytes` of the body, or its growth
        self.held_bytes = 0
        self._growth: Growth | None = None
        self._connection = connection
        self._core = connection.core
        self._pieces: list[bytes] = []
        self._has_whole_body = has_whole_body
        self._news: asyncio.Future[None] | None = None

    # For the application.

    @property
    def is_secure(self) -> bool:
        """Whether it came over TLS."""
        return self._connection.is_secure

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.answer is _GONE

    def growth(self) -> Growth:
        """Return what counts the bytes that come out of a compressed body."""
        if self._growth is None:
            self.is_counted = True
            self._growth = Growth(self._connection.budget)
        return self._growth

    def still_holds(self, size: int) -> None:
        """Take note that but `size` bytes are left of the pieces of a body."""
        if self.is_counted:
            self._connection.budget.held_bytes += size - self.held_bytes
            self.held_bytes = size

    async def as_task(self) -> None:
        """Go on as a task, if this is the first step, which is none.

        `asyncio.timeout`, `TaskGroup` and `current_task` need it.
        """
        if self.task is None:
            await suspend()

    @property
    def small_body(self) -> bytes | None:
        """The body, if it came whole, in one piece, and small enough to be no concern of anyone.

        None for all others, which take `read`; it is never empty.
        """
        pieces = self._pieces
        if self._has_whole_body and len(pieces) == 1 and not (self.credit or self.is_counted):
            return pieces[0]
        return None

    async def read(self, max_bytes: int) -> bytes | bytearray:
        """Return the whole body. It does not wait if that is all there.

        Raises `BodyTooLarge` beyond `max_bytes`.
        """
        return self._whole(max_bytes) if self._has_whole_body else await self._read_on(max_bytes)

    async def read_framed(
        self, head_bytes: int, size_of: Callable[[bytes], int], max_bytes: int
    ) -> tuple[bytes, bytes | bytearray]:
        """Return the first bytes of a body, and the rest; it does not wait if all is there.

        The first bytes say by `size_of` how many follow. Whether that is true is the caller's to
        find out, and both are shorter if the body is. Raises `BodyTooLarge` if more than
        `max_bytes` follow.
        """
        if not self._has_whole_body:
            self._announced_bytes(head_bytes + max_bytes)
            self._continue()
            while not self._has_whole_body and sum(map(len, self._pieces)) < head_bytes:
                await self._wait_for_more()
        pieces = self._pieces
        if len(pieces) > 1 and len(pieces[0]) < head_bytes:
            pieces = self._pieces = [b"".join(pieces)]
        if not pieces:
            return b"", b""
        first = pieces[0]
        head, pieces[0] = first[:head_bytes], first[head_bytes:]
        if self._has_whole_body:
            return head, self._whole(max_bytes)
        size = size_of(head)
        if size > max_bytes:
            raise _too_large(max_bytes)
        return head, await self._assembled(size, max_bytes)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; the client may send as much more as was taken."""
        self._core.expect_pauses(self.stream)
        self._continue()
        while True:
            if self._pieces:
                pieces = self._pieces
                self._give_back()
                for piece in pieces:
                    yield piece
            elif self._has_whole_body:
                return
            else:
                await self._wait_for_more()

    def respond(self, response: Response) -> None:
        """Answer, with all there is to say."""
        if self.answer is _NONE or self._may_answer(_NONE):
            self.answer = _SENT
            self._core.respond(self.stream, response, head_only=self.head.method == b"HEAD")
            if not self._connection.is_write_due:
                self._connection.answered()

    async def start(self, status: int, headers: Fields) -> None:
        """Begin an answer that is written in pieces."""
        if self._may_answer(_NONE):
            self.answer = _STARTED
            self._core.start(self.stream, status, headers)
            self._connection.write_soon()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to the answer; wait while the client has too much to take already."""
        if self._may_answer(_STARTED):
            self._core.write(self.stream, data)
            self._connection.write_soon()
            if self._core.pending(self.stream) > self._connection.limits.stream_output_high_bytes:
                await self._connection.until_writable(self.stream)

    def finish(self, trailers: Fields | None = None) -> None:
        """End an answer that was written in pieces."""
        if self._may_answer(_STARTED):
            self.answer = _SENT
            self._core.end(self.stream, trailers)
            if not self._connection.is_write_due:
                self._connection.answered()

    # For the connection.

    def feed(self, data: bytes, credit: int, has_whole_body: bool) -> None:
        """Take a piece of the body."""
        if data:
            self._pieces.append(data)
            if not has_whole_body or len(data) > _SMALL_BYTES:
                self.is_counted = True
                self.held_bytes += len(data)
                self._connection.budget.held_bytes += len(data)
        self.credit += credit
        self._has_whole_body = has_whole_body
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def release(self) -> None:
        """Give back what the body takes of the budget."""
        self.still_holds(0)
        if self._growth is not None:
            self._growth.end()

    def abandon(self) -> None:
        """Give up, unless the answer is on its way: nobody waits for it any more."""
        if self.answer is not _SENT:
            self.answer = _GONE
            if self.task is not None:
                self.task.cancel()

    # Details.

    def _may_answer(self, expected: Answer) -> bool:
        """Return whether there is somebody to take this step of the answer."""
        if self.answer is expected:
            return True
        if self.answer is _GONE:
            return False
        raise RuntimeError(f"the answer is {self.answer.name} and not {expected.name}")

    def _whole(self, max_bytes: int) -> bytes:
        """Return a body that is all here."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self.credit:
            self._give_back()
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body

    async def _read_on(self, max_bytes: int) -> bytes | bytearray:
        """Read a body that is still coming."""
        length = self._announced_bytes(max_bytes)
        self._continue()
        return await self._assembled(length, max_bytes)

    def _announced_bytes(self, max_bytes: int) -> int | None:
        digits = self.head.headers.get(b"content-length", b"")
        length = int(digits) if digits.isdigit() else None
        if length is not None and length > max_bytes:
            raise _too_large(max_bytes)
        return length

    async def _assembled(self, length: int | None, max_bytes: int) -> bytes | bytearray:
        """Return what is here and what will come, of that length if it is known."""
        body = Assembly(length)
        while True:
            for piece in self._pieces:
                body.add(piece)
            self._give_back()
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            if self._has_whole_body:
                return body.take()
            await self._wait_for_more()

    def _continue(self) -> None:
        """Ask a client for the body that first wants to know whether it is welcome."""
        if b"expect" in self.head.headers and not self._pieces and not self._has_whole_body:
            self._core.send_continue(self.stream)
            self._connection.write_soon()

    async def _wait_for_more(self) -> None:
        self._news = self._connection.loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _give_back(self) -> None:
        """Let the client send as much as was taken."""
        self._pieces = []
        if self.credit:
            self._core.consumed(self.stream, self.credit)
            self.credit = 0
            if not self._connection.is_write_due:
                self._connection.write_soon()


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {max_bytes} bytes")


class Application(Protocol):
    """Answers requests. One application may serve several listeners."""

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Answer one request.

        The first step is taken at once and outside of any task (see `Exchange.as_task`). The
        coroutine is cancelled when the client leaves or gives the request up. An exception that
        escapes is logged and answered with 500.
        """

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        """Say what is answered to a request that the transport refuses. It must not raise."""
