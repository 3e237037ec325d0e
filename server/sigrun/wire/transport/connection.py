"""One connection: its life, and its turns; between asyncio, a core, requests and output.

In: what asyncio calls (`connection_made`, `data_received` ...), and turns. Out: one `write` for
all answers that come out of one turn, or of one turn of the event loop.

    NEW ──made──▶ SILENT ──first bytes or ALPN──▶ SPEAKING ──core has ended──▶ CLOSING ──▶ LOST

Theory of operation.
- A read is parsed whole, and `requests` told. What is to be done then is done in a turn (`turns`):
  requests are begun, and a portion of their answers is written. Who has not done all of it in one
  turn, or has read so much that there may be more, waits for the next.
- Nothing is taken from the core while the socket is full. What then waits in the core is
  bounded: above half of `Limits.max_pending_bytes` no further request is begun, and a core that
  wants no data is given none.
- There are no timers. The listener tells each connection the time, and that is when it looks.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Final, cast

from sigrun.wire.transport.events import Core
from sigrun.wire.transport.exchange import Exchange
from sigrun.wire.transport.output import Output
from sigrun.wire.transport.requests import Requests
from sigrun.wire.transport.service import PipelinedCore, Service, Spoken, spoken_in
from sigrun.wire.transport.turns import LARGE_READ_BYTES

logger = logging.getLogger(__name__)

_NO_ERROR = 0  # as HTTP/2 numbers it
_STOPPING = "The server is stopping"


class _Stage(enum.Enum):
    NEW = enum.auto()
    SILENT = enum.auto()
    SPEAKING = enum.auto()
    CLOSING = enum.auto()  # what was written is sent, and no more
    LOST = enum.auto()


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_SPEAKING: Final = _Stage.SPEAKING

_BEFORE_SPEAKING = (_Stage.NEW, _Stage.SILENT)
_HAS_LIMIT = (_Stage.SILENT, _Stage.CLOSING)


class Connection(asyncio.Protocol):
    """One connection. `on_lost` is called with it when it is over."""

    def __init__(self, service: Service, peer: str, on_lost: Callable[[Connection], None]) -> None:
        self.peer = peer
        self.is_secure = False
        self.limits = service.limits
        self.loop = asyncio.get_running_loop()
        self.budget = service.budget
        self._service = service
        self._turns, self._door = service.turns, service.door
        self._clock = service.turns.clock
        self._on_lost = on_lost
        self._stage = _Stage.NEW
        self._early = b""  # of a preface that is not here whole
        self.core: Core  # from here on: once it is known what is spoken
        self._requests: Requests
        self._output: Output
        self._pipelined: PipelinedCore | None = None  # the core, if it is one
        self._look_at = 0.0  # at the core, however idle it is
        self._is_draining = False
        self._has_said_all = False
        self._is_queued = False  # for its turn
        self.is_write_due = False  # it is said already that there is something to write
        self._gives_way = False  # it reads no further until its turn
        self._is_paused = False  # it reads no further until the core wants more

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
        now = self._clock()
        events = self.core.receive(data, now)
        requests = self._requests
        if events:
            requests.take_in(events, now, self)
        has_turn = bool(requests.ready) and not self._is_queued and requests.may_begin
        if has_turn:
            self._is_queued = True
            self._turns.offer(self._door, self, now)
        elif not self._is_queued or self.core.is_ended:
            self._go_on()
        if len(data) >= LARGE_READ_BYTES and self._stage is _SPEAKING:
            self._give_way(self._clock() if has_turn else now)

    def eof_received(self) -> bool:
        """Give up what is not answered: a client that sends no more has left, as a rule.

        Few close only their own side and wait; many leave when their time is over.
        """
        if self._stage is _SPEAKING:
            now = self._clock()
            self._requests.take_in(self.core.receive_eof(now), now, self)
            self._go_on()
        if self._stage is _SPEAKING:
            self._close()
        return False

    def pause_writing(self) -> None:
        """Take nothing from the core: the socket is full."""
        self._output.is_full = True

    def resume_writing(self) -> None:
        """Go on writing, and then with what waited for it."""
        self._output.is_full = False
        if self._stage is _SPEAKING:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is being answered: nobody is there any more."""
        if self._stage not in _BEFORE_SPEAKING:
            self._requests.abandon()
            self._output.end()
        self._stage = _Stage.LOST
        self._on_lost(self)

    # What turns call.

    def take_turn(self, until: float) -> bool:
        """Read on, begin requests until a time, write a portion; return whether more is to do."""
        if self._stage is not _SPEAKING:
            self._is_queued = False
            return False
        if self._gives_way:
            self._gives_way = False
            self._read_or_pause()
        requests, output = self._requests, self._output
        self.is_write_due = True  # at the end of this turn, for all that is answered in it
        requests.begin(until, holds_answers=output.unsent_bytes > 0, connection=self)
        has_more = self._write_out() or (bool(requests.ready) and requests.may_begin)
        self._is_queued = has_more and self._stage is _SPEAKING
        return self._is_queued

    # What exchanges call.

    def answered(self) -> None:
        """Take note that an answer is whole, and send it with those that come beside it."""
        if self.is_write_due:
            return
        if not self.core.open_requests:  # none can come beside it
            self._write_out()
        if self.core.open_requests or self._requests.ready:
            self.write_soon()

    def write_soon(self) -> None:
        """Take note that there is something to write."""
        if not self.is_write_due:
            self.is_write_due = True
            self.loop.call_soon(self._go_on)

    async def until_writable(self, stream: int) -> None:
        """Wait until little of an answer waits for the client."""
        await self._output.until_writable(stream)

    # What requests call.

    def task_done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """Take note that the task of a request has ended."""
        self._requests.task_done(exchange, task)
        self.write_soon()

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
                or self._requests
                or self.core.pending_bytes
            ):
                self._look_at = now + 4 * self.limits.tick_s
                self._requests.take_in(self.core.on_time(now), now, self)
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
        self._requests.cut()
        self.core.close(_NO_ERROR, _STOPPING)
        self.core.on_time(now)
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
        self.core = core = self._service.cores[spoken](self.limits, now)
        self._requests = Requests(core, self._service, self.peer)
        self._output = Output(core, self._transport, self.budget, self.limits)
        if spoken is Spoken.HTTP1:
            self._pipelined = cast("PipelinedCore", core)
        self._stage = _Stage.SPEAKING
        if self._is_draining:
            core.drain(now)
        self._write_out()

    def _give_way(self, since: float) -> None:
        """Stop reading until the next turn, for there may be much more."""
        self._gives_way = True
        self._read_or_pause()
        self._wait_for_turn(since)

    def _read_or_pause(self) -> None:
        if self._gives_way or self._is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # Details: out.

    def _go_on(self) -> None:
        """Write, and begin requests that had to wait until less waits for the client."""
        self._write_out()
        if (
            not self._is_queued
            and self._stage is _SPEAKING
            and self._requests.ready
            and self._requests.may_begin
        ):
            self._is_queued = True
            self._turns.offer(self._door, self, self._clock())

    def _write_out(self) -> bool:
        """Give the socket a portion of what the core has for it, and do what hangs on that.

        Return whether there is more, for which the connection waits for its turn.
        """
        self.is_write_due = False
        if self._stage is not _SPEAKING:
            return False
        core, output, has_more = self.core, self._output, False
        try:
            has_more = output.write()
            if self._pipelined is not None and self._pipelined.has_events:
                now = self._clock()
                self._requests.take_in(core.receive(b"", now), now, self)
                has_more = output.has_more
            if has_more:
                self._wait_for_turn(self._clock())
            elif core.is_ended and not core.has_output:
                self._close()
                return False
            if self._is_paused is core.wants_data:
                self._is_paused = not self._is_paused
                self._read_or_pause()
        except Exception:  # a fault of our own: it is to hurt this connection alone
            logger.exception("%s: the connection has failed", self.peer)
            self.abort()
        return has_more

    def _wait_for_turn(self, since: float) -> None:
        if not self._is_queued:
            self._is_queued = True
            self._turns.wait(self._door, self, since)

    def _close(self) -> None:
        """Have the socket send what it was given, and end."""
        self._stage = _Stage.CLOSING
        self._act_by = self._clock() + self.limits.linger_s
        self._requests.abandon()
        self._transport.close()
