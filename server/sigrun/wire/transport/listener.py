"""A door's sockets: it accepts connections, tells them the time, and drains them at the end.

In: addresses and an application. Out: connections, each of which serves itself.

- It accepts by itself, and not by asyncio's server, which loops when the process is out of
  descriptors, and loses what is in the backlog when it closes. Without descriptors it leaves
  clients in the backlog and tries again with the next tick.
- Beyond `Limits.max_connections` a connection is accepted and closed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sigrun.concurrency.budget import Budget
from sigrun.config.server import TlsOptions
from sigrun.errors import SigrunError
from sigrun.telemetry.metrics import Counter, Gauge
from sigrun.telemetry.notices import Notice
from sigrun.wire.transport import addresses
from sigrun.wire.transport.accepting import Acceptor
from sigrun.wire.transport.addresses import Address, Unix
from sigrun.wire.transport.connection import Connection
from sigrun.wire.transport.events import RequestHead
from sigrun.wire.transport.exchange import Application
from sigrun.wire.transport.http1.core import Http1
from sigrun.wire.transport.http2.core import Http2
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.service import MakeCore, Service, Spoken
from sigrun.wire.transport.tls import tls_context
from sigrun.wire.transport.turns import Turns

logger = logging.getLogger(__name__)

CORES: Mapping[Spoken, MakeCore] = {Spoken.HTTP2: Http2, Spoken.HTTP1: Http1}

_TOLD_AT_ONCE = 200
_CUT_S = 0.8  # for those who are cut off to hear of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Numbers of a listener: the first three count since the start, the others are of now."""

    accepted: int
    refused: int  # beyond `Limits.max_connections`
    starved: int  # times when there was no descriptor for a connection
    connections: int
    requests: int
    pending_bytes: int  # of answers, in our own memory


def _is_never_spared(_head: RequestHead) -> bool:
    return False


class Listener:
    """Serves an application at some addresses; started and stopped once."""

    def __init__(
        self,
        application: Application,
        where: Sequence[Address],
        *,
        door: str,
        turns: Turns,
        spoken: Sequence[Spoken] = tuple(CORES),
        limits: Limits | None = None,
        tls: TlsOptions | None = None,
        budget: Budget | None = None,
        is_spared: Callable[[RequestHead], bool] = _is_never_spared,
    ) -> None:
        self._where = where
        self._spoken = spoken
        self._limits = limits or Limits()
        self._tls = tls
        self._turns = turns
        self._service = Service(
            application=application,
            limits=self._limits,
            cores={name: CORES[name] for name in spoken},
            turns=turns,
            door=turns.add_door(door),
            budget=budget or Budget(),
            is_spared=is_spared,
        )
        self._loop = asyncio.get_running_loop()
        self._context: ssl.SSLContext | None = None
        self._sockets: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._when_gone: dict[Connection, Callable[[], None]] = {}
        self._beginning: set[asyncio.Task[None]] = set()
        self._all_gone = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None
        self._is_starved = self._is_stopping = False
        self._accepted = 0
        self.acceptor = Acceptor(self._on_accepted, self._wait, clock=turns.clock)
        self._refused = Notice(
            logger, "%d connections are open: no further one is taken", clock=turns.clock
        )
        self.port: int | None = None  # of the first TCP address, once it is open

    def statistics(self) -> Statistics:
        """Return all that is counted, which takes a look at every connection."""
        return Statistics(
            accepted=self._accepted,
            refused=self._refused.count,
            starved=self.acceptor.starved,
            connections=len(self._connections),
            requests=sum(each.open_requests for each in self._connections),
            pending_bytes=sum(each.pending_bytes for each in self._connections),
        )

    def readings(self) -> Iterator[Counter | Gauge]:
        """Return the numbers of connections, as metrics."""
        port = {"port": self._service.door.name}
        yield Gauge(
            name="sigrun_connections",
            help="Connections that are open",
            value=len(self._connections),
            labels=port,
        )
        yield Counter(
            name="sigrun_connections_accepted",
            help="Connections that were accepted",
            value=self._accepted,
            labels=port,
        )
        yield Counter(
            name="sigrun_connections_refused",
            help="Connections that were closed at once, as too many were open",
            value=self._refused.count,
            labels=port,
        )

    async def start(self) -> None:
        """Listen and serve.

        Raises `Unavailable` if an address cannot be had, `InvalidArgument` for certificates
        that cannot be used.
        """
        try:
            if self._tls is not None:
                self._context = await asyncio.to_thread(tls_context, self._tls, self._spoken)
            for address in self._where:
                backlog = self._limits.accept_backlog
                listening = await asyncio.to_thread(addresses.listen, address, backlog)
                self._sockets.append(listening)
        except BaseException as error:
            await self._remove_paths()
            self._close_sockets()
            self._turns.remove_door(self._service.door)
            if isinstance(error, SigrunError):
                raise type(error)(f"{self._service.door.name} {error}") from None
            raise
        self.port = first_port(self._sockets)
        self._watch()
        self._tick = self._loop.call_later(self._limits.tick_s, self._on_tick)

    async def use_tls(self, tls: TlsOptions) -> None:
        """Show these certificates to whoever connects from now on; connections stay as they are.

        Raises `InvalidArgument` for certificates that cannot be used; those before stay then.
        """
        self._context = await asyncio.to_thread(tls_context, tls, self._spoken)

    async def stop(self, grace_s: float) -> None:
        """Take no new connections and requests, answer what was sent, for up to `grace_s`.

        It takes a second longer at most, whatever the other sides do.
        """
        if self._tick is None or self._is_stopping:
            return
        self._is_stopping = True
        await self._remove_paths()
        for listening in self._sockets:
            while self.acceptor.accept_some(listening):  # noqa: ASYNC110  # who has connected before
                await asyncio.sleep(0)
        self._close_sockets()
        self._tell(Connection.drain, self._connections)
        if not await self._are_all_gone(grace_s):
            await self._cut_all()
        self._tick.cancel()
        self._turns.remove_door(self._service.door)

    def take(self, accepted: socket.socket, when_gone: Callable[[], None]) -> None:
        """Serve a connection that somebody else has accepted; `when_gone` it has ended.

        The listener has been started. It need not listen at any address itself.
        """
        try:
            peer = addresses.peer_name(accepted.getpeername())
        except OSError:  # it has left already
            accepted.close()
            when_gone()
            return
        self._begin(accepted, peer, when_gone)

    # Accepting.

    def _watch(self) -> None:
        for listening in self._sockets:
            self._loop.add_reader(listening, self.acceptor.accept_some, listening)

    def _on_accepted(self, _: socket.socket, accepted: socket.socket, address: Any) -> None:
        self._begin(accepted, addresses.peer_name(address))

    def _wait(self) -> None:
        """Leave clients in the backlog until the next tick."""
        self._is_starved = True
        for listening in self._sockets:
            self._loop.remove_reader(listening)

    def _begin(
        self, accepted: socket.socket, peer: str, when_gone: Callable[[], None] | None = None
    ) -> None:
        self._accepted += 1
        limit = self._limits.max_connections
        if len(self._connections) >= limit:
            self._refused.give(limit)
            accepted.close()
            if when_gone is not None:
                when_gone()
            return
        accepted.setblocking(False)
        connection = Connection(self._service, peer, self._forget)
        self._connections.add(connection)
        if when_gone is not None:
            self._when_gone[connection] = when_gone
        if self._is_stopping:
            connection.drain(self._turns.clock())
        task = self._loop.create_task(self._make(connection, accepted), name="connection")
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _make(self, connection: Connection, accepted: socket.socket) -> None:
        """Give a connection its transport, and its TLS handshake."""
        try:
            await self._loop.connect_accepted_socket(
                partial(_itself, connection),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.head_timeout_s if self._context else None,
            )
        except (Exception, asyncio.CancelledError) as error:  # most often, no TLS is spoken
            logger.debug("%s: no connection: %s", connection.peer, error)
            accepted.close()
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if (when_gone := self._when_gone.pop(connection, None)) is not None:
            when_gone()
        if not self._connections:
            self._all_gone.set()

    # Time, and the end.

    def _on_tick(self) -> None:
        self._tick = self._loop.call_later(self._limits.tick_s, self._on_tick)
        if self._is_starved and not self._is_stopping:
            self._is_starved = False
            self._watch()
        self._tell_time(list(self._connections))

    def _tell_time(self, connections: list[Connection]) -> None:
        """Tell some of them the time, and then, after a look at the sockets, the others."""
        self._tell(Connection.on_time, connections[-_TOLD_AT_ONCE:])
        del connections[-_TOLD_AT_ONCE:]
        if connections:
            self._loop.call_soon(self._tell_time, connections)

    def _tell(
        self, what: Callable[[Connection, float], None], connections: Iterable[Connection]
    ) -> None:
        """Have connections do something at this time, each whatever becomes of the others."""
        now = self._turns.clock()
        for connection in tuple(connections):
            try:
                what(connection, now)
            except Exception:
                logger.exception("%s: the connection has failed", connection.peer)
                connection.abort()

    async def _remove_paths(self) -> None:
        """Remove our paths while they are ours: once a socket is closed, another may take it."""
        for address in self._where[: len(self._sockets)]:
            if isinstance(address, Unix):
                await asyncio.to_thread(addresses.remove, address)

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()

    async def _cut_all(self) -> None:
        """End every connection, whatever the other side does."""
        self._tell(Connection.cut, self._connections)
        if await self._are_all_gone(_CUT_S):
            return
        for task in tuple(self._beginning):
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        await self._are_all_gone(1.0 - _CUT_S)

    async def _are_all_gone(self, limit_s: float) -> bool:
        self._all_gone.clear()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._all_gone.wait()
        return not self._connections


def first_port(sockets: Sequence[socket.socket]) -> int | None:
    """Return the number of the first of some sockets that is of TCP."""
    for listening in sockets:
        if listening.family != socket.AF_UNIX:
            port: int = listening.getsockname()[1]
            return port
    return None


def _itself(connection: Connection) -> Connection:
    return connection
