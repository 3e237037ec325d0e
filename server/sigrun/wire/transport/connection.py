"""One connection: bytes from the socket to its core, events to exchanges, answers to the socket.

In: what asyncio calls (`connection_made`, `data_received` ...), and turns. Out: one `write` for
all answers that come out of one turn, or of one turn of the event loop.

    NEW ──made──▶ SILENT ──first bytes or ALPN──▶ SPEAKING ──core has ended──▶ CLOSING ──▶ LOST

Theory of operation.
- A read is parsed whole. Heads become exchanges, which wait in `_ready` for the connection's
  turn (`turns`); pieces of bodies go to their exchanges; a reset cancels what it belongs to.
- Nothing is taken from the core while the socket is full. What then waits in the core is
  bounded: above half of `Limits.max_pending_bytes` no further request is begun, and a core that
  wants no data is given none.
- There are no timers. The listener tells each connection the time, and that is when it looks.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Final, cast

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
from sigrun.wire.transport.service import PipelinedCore, Service, Spoken, spoken_in
from sigrun.wire.transport.stepping import make_task

logger = logging.getLogger(__name__)

_MUCH_BYTES = 32 * 1024  # of one socket, at once
_TAKES_AT_ONCE = 4  # of `Limits.max_take_bytes` each
_NO_ERROR, _INTERNAL_ERROR = 0, 2  # as HTTP/2 numbers them

_FAILED = Response(500, ((b"content-type", b"text/plain"),), b"The server failed.\n")
_STOPPING = "The server is stopping"


class _Stage(enum.Enum):
    NEW = enum.auto()
    SILENT = enum.auto()
    SPEAKING = enum.auto()
    CLOSING = enum.auto()  # what was written is sent, and no more
    LOST = enum.auto()


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_SPEAKING: Final = _Stage.SPEAKING
_SENT: Final = Answer.SENT

_HAS_LIMIT = (_Stage.SILENT, _Stage.CLOSING)


class Connection(asyncio.Protocol):
    """One connection. `on_lost` is called with it when it is over."""

    def __init__(self, service: Service, peer: str, on_lost: Callable[[Connection], None]) -> None:
        self.peer = peer
        self.is_secure = False
        self.limits = service.limits
        self.loop = asyncio.get_running_loop()
        self._service = service
        self._serve = service.application.serve
        self._turns, self._door = service.turns, service.door
        self._clock = service.turns.clock
        self._on_lost = on_lost
        self.budget = service.budget
        self._unsent_bytes = 0  # of the answers, as far as the budget knows of them
        self._high_bytes = service.limits.max_pending_bytes // 2
        self._stage = _Stage.NEW
        self._early = b""  # of a preface that is not here whole
        self.core: Core
        self._pipelined: PipelinedCore | None = None  # the same, if it is one
        self._exchanges: dict[int, Exchange] = {}
        self._ready: deque[Exchange] = deque()  # those of them that have not begun
        self._writers: dict[int, asyncio.Future[None]] = {}
        self._look_at = 0.0  # at the core, however idle it is
        self._is_draining = False
        self._has_said_all = False
        self._is_queued = False  # for its turn
        self.is_write_due = False  # it is said already that there is something to write
        self._is_full = False  # the socket is
        self._is_paused = False  # reading is

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; over TLS it may be known what is spoken."""
        self._transport = cast("asyncio.Transport", transport)
        self._stage = _Stage.SILENT
        patience_s = self.limits.drain_idle_s if self._is_draining else self.limits.head_timeout_s
        self._act_by = self._clock() + patience_s
        tls = transport.get_extra_info("ssl_object")
        self.is_secure = tls is not None
        agreed = tls.selected_alpn_protocol() if tls is not None else None
        if agreed is not None:
            self._speak(Spoken(agreed))
        elif len(self._service.cores) == 1:
            self._speak(next(iter(self._service.cores)))

    def data_received(self, data: bytes) -> None:
        """Take what has come, and begin what it asks for if nobody else waits."""
        if self._stage is not _SPEAKING:
            data = self._early + data
            if not self._knows_what_is_spoken(data):
                return
        core = self.core
        now = self._clock()
        events = core.receive(data, now)
        if events:
            self._take_in(events, now)
        if self._ready and not self._is_queued and core.pending_bytes < self._high_bytes:
            self._is_queued = True
            self._turns.offer(self._door, self, now)
        else:
            self._go_on()
        if len(data) >= _MUCH_BYTES:
            self._let_others_read()

    def eof_received(self) -> bool:
        """Give up what is not answered: a client that sends no more has left, as a rule.

        Few close only their own side and wait; many leave when their time is over.
        """
        if self._stage is _SPEAKING:
            now = self._clock()
            self._take_in(self.core.receive_eof(now), now)
            self._go_on()
        if self._stage is _SPEAKING:
            self._close()
        return False

    def pause_writing(self) -> None:
        """Take nothing from the core: the socket is full."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Go on writing, and then with what waited for it."""
        self._is_full = False
        if self._stage is _SPEAKING:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is being answered: nobody is there any more."""
        self._stage = _Stage.LOST
        for exchange in self._leave():
            exchange.abandon()
        self._count_unsent(0)
        self._on_lost(self)

    # What turns call.

    def take_turn(self, until: float) -> bool:
        """Begin waiting requests until a time, at least one; return whether more wait."""
        self.is_write_due = True  # at the end of this turn, for all that is answered in it
        ready, core, serve, high_bytes = self._ready, self.core, self._serve, self._high_bytes
        budget = self.budget
        # A full process begins nothing for those who leave answers unread; others may ask.
        is_full = self._unsent_bytes > 0 and budget.is_full
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
                    del self._exchanges[exchange.stream]
                else:
                    self._finish(exchange, None)
            except (Exception, asyncio.CancelledError) as error:
                self._finish(exchange, error)
            else:
                budget.requests += 1
                exchange.task = make_task(self.loop, coroutine, awaited, context)
                exchange.task.add_done_callback(partial(self._on_task_done, exchange))
            if not ready or self._clock() >= until:
                break
        self._write_out()
        self._is_queued = bool(ready) and core.pending_bytes < high_bytes
        return self._is_queued

    # What exchanges call.

    def answered(self) -> None:
        """Take note that an answer is whole, and send it with those that come beside it."""
        if self.is_write_due:
            return
        if not self.core.open_requests:  # none can come beside it
            self._write_out()
        if self.core.open_requests or self._ready:
            self.write_soon()

    def write_soon(self) -> None:
        """Take note that there is something to write."""
        if not self.is_write_due:
            self.is_write_due = True
            self.loop.call_soon(self._go_on)

    async def until_writable(self, stream: int) -> None:
        """Wait until little of an answer waits for the client."""
        self._writers[stream] = writable = self.loop.create_future()
        try:
            await writable
        finally:
            del self._writers[stream]

    # What the listener calls.

    @property
    def open_requests(self) -> int:
        """How many requests are not answered yet."""
        return self.core.open_requests if self._stage is _SPEAKING else 0

    @property
    def pending_bytes(self) -> int:
        """How much of the answers waits for the client, what the socket has taken aside."""
        return self.core.pending_bytes if self._stage is _SPEAKING else 0

    def on_time(self, now: float) -> None:
        """Do what hangs on time; while nothing goes on, look at every fourth call only."""
        if self._stage is _SPEAKING:
            if (
                now >= self._look_at
                or self._is_draining
                or self._exchanges
                or self.core.pending_bytes
            ):
                self._look_at = now + 4 * self.limits.tick_s
                self._take_in(self.core.on_time(now), now)
                self._go_on()
                if self._pipelined is not None and self._pipelined.is_lingering:
                    self._say_no_more()
        elif self._stage in _HAS_LIMIT and now >= self._act_by:
            self._transport.abort()

    def drain(self, now: float) -> None:
        """Answer what was sent, and end."""
        self._is_draining = True
        if self._stage is _SPEAKING:
            self.core.drain(now)
            self._go_on()
        elif self._stage is _Stage.SILENT:
            self._act_by = min(self._act_by, now + self.limits.drain_idle_s)

    def cut(self, now: float) -> None:
        """End now; whose request is not answered is told so."""
        if self._stage is _Stage.SILENT:
            self._transport.abort()
        if self._stage is not _SPEAKING:
            return
        core = self.core
        for exchange in self._leave():
            if exchange.answer is Answer.NONE:
                self._refuse(exchange.stream, exchange.head, Problem.STOPPING, _STOPPING)
            elif exchange.answer is Answer.STARTED:
                core.reset(exchange.stream, _INTERNAL_ERROR)
            exchange.abandon()
        core.close(_NO_ERROR, _STOPPING)
        core.on_time(now)
        self._write_out()

    def abort(self) -> None:
        """End at once."""
        if self._stage is _SPEAKING:
            self._close()
        if self._stage in _HAS_LIMIT:
            self._transport.abort()

    def _say_no_more(self) -> None:
        """Close our side: the client is only heard out."""
        if not self._has_said_all and self._stage is _SPEAKING and self._transport.can_write_eof():
            self._has_said_all = True
            self._transport.write_eof()

    # Details: in.

    def _knows_what_is_spoken(self, first_bytes: bytes) -> bool:
        """Look at the first bytes, unless ALPN has said it; return whether they are enough."""
        if self._stage is not _Stage.SILENT:
            return False
        spoken = spoken_in(first_bytes)
        if spoken is None:
            self._early = first_bytes
            return False
        self._speak(spoken)
        return True

    def _speak(self, spoken: Spoken) -> None:
        now = self._clock()
        self.core = self._service.cores[spoken](self.limits, now)
        if spoken is Spoken.HTTP1:
            self._pipelined = cast("PipelinedCore", self.core)
        self._stage = _Stage.SPEAKING
        if self._is_draining:
            self.core.drain(now)
        self._write_out()

    def _take_in(self, events: list[Event], now: float) -> None:
        """Tell exchanges what has come for them."""
        exchanges = self._exchanges
        for event in events:
            if isinstance(event, Head):
                stream, head, has_whole_body = event
                exchanges[stream] = exchange = Exchange(self, stream, head, has_whole_body, now)
                self._ready.append(exchange)
            elif isinstance(event, Data):
                stream, data, credit, has_whole_body = event
                if stream in exchanges:
                    exchange = exchanges[stream]
                    exchange.feed(data, credit, has_whole_body)
                    if exchange.is_counted and self.budget.is_full:
                        self._refuse_for_room(exchange)
                else:  # it was answered before it was here whole
                    self.core.consumed(stream, credit)
            else:
                self._take_in_rare(event)

    def _take_in_rare(self, event: Event) -> None:
        match event:
            case Trailers(stream, headers):
                if stream in self._exchanges:
                    self._exchanges[stream].trailers = headers
                    self._exchanges[stream].feed(b"", 0, True)
            case Reset(stream):
                self._drop(stream)
            case Refused(stream, head, problem, text):
                self._drop(stream)
                self._refuse(stream, head, problem, text)
            case Ended(code, text):
                logger.debug("%s: the connection ends with code %d: %s", self.peer, code, text)

    def _refuse_for_room(self, exchange: Exchange) -> None:
        """Refuse a request for which there is no room, and read no more of it."""
        stream, answer = exchange.stream, exchange.answer
        if answer is _SENT:
            return
        self.budget.refused += 1
        if answer is Answer.NONE:
            self._refuse(stream, exchange.head, Problem.FULL, self.budget.fullness())
        else:
            self.core.reset(stream, _INTERNAL_ERROR)
        self.core.consumed(stream, exchange.credit)
        self._drop(stream)
        exchange.release()  # if it has a task, that ends at once
        self.write_soon()

    def _drop(self, stream: int) -> None:
        """Give up a request that cannot be answered any more."""
        exchange = self._exchanges.pop(stream, None)
        if exchange is not None:
            if exchange.task is None:
                self._ready.remove(exchange)
                exchange.release()
            exchange.abandon()

    def _refuse(self, stream: int, head: RequestHead | None, problem: Problem, text: str) -> None:
        response = self._service.application.refuse(head, problem, text)
        is_head = head is not None and head.method == b"HEAD"
        self.core.respond(stream, response, head_only=is_head)

    def _let_others_read(self) -> None:
        """Stop reading until other sockets were looked at.

        uvloop would go on with this one for megabytes otherwise.
        """
        self._transport.pause_reading()
        self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._stage is _SPEAKING and not self._is_paused:
            self._transport.resume_reading()

    # Details: out.

    def _finish(self, exchange: Exchange, error: BaseException | None) -> None:
        """See to it that a request is answered whose coroutine has ended."""
        stream = exchange.stream
        if exchange.is_counted:
            exchange.release()
        if error is not None or exchange.answer in (Answer.NONE, Answer.STARTED):
            logger.error("%s: a request was not answered", self.peer, exc_info=error)
        if exchange.answer is not Answer.GONE:
            self._exchanges.pop(stream, None)
            if exchange.credit:
                self.core.consumed(stream, exchange.credit)
        if exchange.answer is Answer.NONE:
            self.core.respond(stream, _FAILED, head_only=exchange.head.method == b"HEAD")
        elif exchange.answer is Answer.STARTED:
            self.core.reset(stream, _INTERNAL_ERROR)

    def _on_task_done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        self.budget.requests -= 1
        exchange.task = None  # it knows frames by its exception, and they know the exchange
        self._finish(exchange, None if task.cancelled() else task.exception())
        self.write_soon()

    def _go_on(self) -> None:
        """Write, and begin requests that had to wait until less waits for the client."""
        self._write_out()
        if (
            self._ready
            and not self._is_queued
            and self._stage is _SPEAKING
            and self.core.pending_bytes < self._high_bytes
        ):
            self._is_queued = True
            self._turns.offer(self._door, self, self._clock())

    def _write_out(self) -> None:
        """Give the socket what the core has for it, and do what hangs on that."""
        self.is_write_due = False
        if self._stage is not _SPEAKING:
            return
        core = self.core
        try:
            for _ in range(_TAKES_AT_ONCE):
                if self._is_full or not core.has_output:
                    break
                self._transport.write(core.take())
            else:
                self.write_soon()
            if core.pending_bytes != self._unsent_bytes:
                self._count_unsent(core.pending_bytes)
            if self._writers:
                self._wake_writers()
            if self._pipelined is not None and self._pipelined.has_events:
                now = self._clock()
                self._take_in(core.receive(b"", now), now)
            if core.is_ended and not core.has_output:
                self._close()
            elif self._is_paused is core.wants_data:
                self._pause_or_resume()
        except Exception:  # a fault of our own: it is to hurt this connection alone
            logger.exception("%s: the connection has failed", self.peer)
            self.abort()

    def _count_unsent(self, now_bytes: int) -> None:
        self.budget.held_bytes += now_bytes - self._unsent_bytes
        self._unsent_bytes = now_bytes

    def _wake_writers(self) -> None:
        for stream, writable in self._writers.items():
            is_low = self.core.pending(stream) <= self.limits.stream_output_low_bytes
            if is_low and not writable.done():
                writable.set_result(None)

    def _pause_or_resume(self) -> None:
        self._is_paused = not self._is_paused
        if self._is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _close(self) -> None:
        """Have the socket send what it was given, and end."""
        self._stage = _Stage.CLOSING
        self._act_by = self._clock() + self.limits.linger_s
        for exchange in self._leave():
            exchange.abandon()
        self._transport.close()

    def _leave(self) -> list[Exchange]:
        """Forget all exchanges, and return them."""
        exchanges = list(self._exchanges.values())
        for exchange in self._ready:  # the others when their tasks have ended
            exchange.release()
        self._exchanges.clear()
        self._ready.clear()
        return exchanges
