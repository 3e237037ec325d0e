"""The requests of one connection: events of its core to exchanges, and what becomes of them.

In: events, turns, the ends of tasks. Out: calls of the application, and of the core for what the
application does not answer. Heads become exchanges that wait in `ready` for the connection's turn;
pieces of bodies go to their exchanges; a reset cancels what it belongs to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Final

from sigrun.wire.transport.events import (
    Core,
    Data,
    Ended,
    Event,
    Head,
    Problem,
    Refused,
    RequestHead,
    Reset,
    Response,
    Trailers,
)
from sigrun.wire.transport.exchange import Answer, Exchange
from sigrun.wire.transport.service import Service
from sigrun.wire.transport.stepping import make_task

if TYPE_CHECKING:
    from sigrun.wire.transport.connection import Connection

logger = logging.getLogger(__name__)

_INTERNAL_ERROR = 2  # as HTTP/2 numbers it

_FAILED = Response(500, ((b"content-type", b"text/plain"),), b"The server failed.\n")
_STOPPING = "The server is stopping"

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_SENT: Final = Answer.SENT


class Requests:
    """What one connection was asked and has not answered."""

    __slots__ = (
        "_budget",
        "_clock",
        "_core",
        "_high_bytes",
        "_open",
        "_peer",
        "_serve",
        "_service",
        "ready",
    )

    def __init__(self, core: Core, service: Service, peer: str) -> None:
        self._core = core
        self._service = service
        self._serve = service.application.serve
        self._budget = service.budget
        self._clock = service.turns.clock
        self._peer = peer
        self._high_bytes = service.limits.max_pending_bytes // 2
        self._open: dict[int, Exchange] = {}
        self.ready: deque[Exchange] = deque()  # those of them that have not begun

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._open)

    @property
    def may_begin(self) -> bool:
        """Whether one that is ready may begin: not too much waits for the client to take it."""
        return self._core.pending_bytes < self._high_bytes

    # In.

    def take_in(self, events: list[Event], now: float, connection: Connection) -> None:
        """Tell exchanges what has come for them."""
        exchanges = self._open
        for event in events:
            if isinstance(event, Head):
                stream, head, has_whole_body = event
                exchanges[stream] = exchange = Exchange(
                    connection, stream, head, has_whole_body, now
                )
                self.ready.append(exchange)
            elif isinstance(event, Data):
                stream, data, credit, has_whole_body = event
                if stream in exchanges:
                    exchange = exchanges[stream]
                    exchange.feed(data, credit, has_whole_body)
                    if exchange.is_counted and self._budget.is_full:
                        self._refuse_for_room(exchange)
                else:  # it was answered before it was here whole
                    self._core.consumed(stream, credit)
            else:
                self._take_in_rare(event)

    def _take_in_rare(self, event: Event) -> None:
        match event:
            case Trailers(stream, headers):
                if stream in self._open:
                    self._open[stream].trailers = headers
                    self._open[stream].feed(b"", 0, True)
            case Reset(stream):
                self._drop(stream)
            case Refused(stream, head, problem, text):
                self._drop(stream)
                self._refuse(stream, head, problem, text)
            case Ended(code, text):
                logger.debug("%s: the connection ends with code %d: %s", self._peer, code, text)

    # Answering.

    def begin(self, until: float, *, holds_answers: bool, connection: Connection) -> None:
        """Begin what is ready until a time, at least one.

        `holds_answers`: the client leaves answers unread.
        """
        ready, core, high_bytes = self.ready, self._core, self._high_bytes
        serve, budget = self._serve, self._budget
        # A full process begins nothing for those who leave answers unread; others may ask.
        is_full = holds_answers and budget.is_full
        while ready and core.pending_bytes < high_bytes:
            exchange = ready[0]
            if (is_full or budget.requests >= budget.max_requests) and not self._service.is_spared(
                exchange.head
            ):
                self._refuse_for_room(exchange)
                continue
            ready.popleft()
            context = copy_context()
            try:
                coroutine = serve(exchange)
                awaited = context.run(coroutine.send, None)
            except StopIteration:
                if exchange.answer is _SENT and not (exchange.credit or exchange.is_counted):
                    del self._open[exchange.stream]
                else:
                    self._finish(exchange, None)
            except (Exception, asyncio.CancelledError) as error:
                self._finish(exchange, error)
            else:
                budget.requests += 1
                exchange.task = make_task(connection.loop, coroutine, awaited, context)
                exchange.task.add_done_callback(partial(connection.task_done, exchange))
            if not ready or self._clock() >= until:
                break

    def task_done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """Take note that the task of a request has ended."""
        self._budget.requests -= 1
        exchange.task = None  # it knows frames by its exception, and they know the exchange
        self._finish(exchange, None if task.cancelled() else task.exception())

    def _finish(self, exchange: Exchange, error: BaseException | None) -> None:
        """See to it that a request is answered whose coroutine has ended."""
        stream = exchange.stream
        if exchange.is_counted:
            exchange.release()
        if error is not None or exchange.answer in (Answer.NONE, Answer.STARTED):
            logger.error("%s: a request was not answered", self._peer, exc_info=error)
        if exchange.answer is not Answer.GONE:
            self._open.pop(stream, None)
            if exchange.credit:
                self._core.consumed(stream, exchange.credit)
        if exchange.answer is Answer.NONE:
            self._core.respond(stream, _FAILED, head_only=exchange.head.method == b"HEAD")
        elif exchange.answer is Answer.STARTED:
            self._core.reset(stream, _INTERNAL_ERROR)

    # Refusing, and giving up.

    def _refuse_for_room(self, exchange: Exchange) -> None:
        """Refuse a request for which there is no room, and read no more of it."""
        stream, answer = exchange.stream, exchange.answer
        if answer is _SENT:
            return
        self._budget.refused += 1
        if answer is Answer.NONE:
            self._refuse(stream, exchange.head, Problem.FULL, self._budget.fullness())
        else:
            self._core.reset(stream, _INTERNAL_ERROR)
        self._core.consumed(stream, exchange.credit)
        self._drop(stream)
        exchange.release()  # if it has a task, that ends at once

    def _refuse(self, stream: int, head: RequestHead | None, problem: Problem, text: str) -> None:
        response = self._service.application.refuse(head, problem, text)
        is_head = head is not None and head.method == b"HEAD"
        self._core.respond(stream, response, head_only=is_head)

    def _drop(self, stream: int) -> None:
        """Give up a request that cannot be answered any more."""
        exchange = self._open.pop(stream, None)
        if exchange is not None:
            if exchange.task is None:
                self.ready.remove(exchange)
                exchange.release()
            exchange.abandon()

    def cut(self) -> None:
        """Give up all of them; those that are not answered are told so."""
        for exchange in self._leave():
            if exchange.answer is Answer.NONE:
                self._refuse(exchange.stream, exchange.head, Problem.STOPPING, _STOPPING)
            elif exchange.answer is Answer.STARTED:
                self._core.reset(exchange.stream, _INTERNAL_ERROR)
            exchange.abandon()

    def abandon(self) -> None:
        """Give up all of them without a word: nobody is there any more."""
        for exchange in self._leave():
            exchange.abandon()

    def _leave(self) -> list[Exchange]:
        """Forget all exchanges, and return them."""
        exchanges = list(self._open.values())
        for exchange in self.ready:  # the others when their tasks have ended
            exchange.release()
        self._open.clear()
        self.ready.clear()
        return exchanges
