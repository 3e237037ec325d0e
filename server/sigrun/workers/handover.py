"""Connections on their way from the supervisor, which accepts them, to the workers.

A connection goes to the worker that has the fewest: a gRPC client keeps its one connection for
hours, and where the kernel chooses (SO_REUSEPORT, or workers that race for one socket) some
workers get most of them. Nothing is lost with a worker either: whatever it had not taken when it
died goes to another one, and the listening sockets are not its own.

Each worker has a pair of stream sockets for it. The supervisor sends a byte, the port, with a
descriptor; the worker sends the same byte back when it has taken it, for each port in order, and
`ENDED` whenever a connection has ended. Until it is taken the supervisor keeps the connection
open, too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple, Protocol

from sigrun.config.server import TlsOptions
from sigrun.errors import SigrunError
from sigrun.telemetry.notices import Notice
from sigrun.wire.transport import addresses
from sigrun.wire.transport.accepting import Acceptor
from sigrun.wire.transport.addresses import Address, Unix
from sigrun.wire.transport.listener import Listener, first_port

logger = logging.getLogger(__name__)

ENDED = b"e"

MAX_UNTAKEN = 64
"""Connections that are given to one worker and not taken yet; others wait in the backlog."""

_AT_ONCE = 32
_TICK_S = 0.5  # until connections are accepted again after the process was out of descriptors
_READ_BYTES = 65536


class PortName(IntEnum):
    """Where a connection has come in."""

    GRPC = 0
    HTTP = 1
    ADMIN = 2


_SAID = {
    PortName.GRPC: "gRPC",
    PortName.HTTP: "HTTP",
    PortName.ADMIN: "administration",
}


class Given(NamedTuple):
    """A connection that has been accepted, and the port that it came in by."""

    port: PortName
    accepted: socket.socket


class Giver:
    """The supervisor's end: gives connections to one worker and counts those it has.

    `on_room` is called when the worker has taken some.
    """

    def __init__(self, end: socket.socket, on_room: Callable[[], None]) -> None:
        end.setblocking(False)
        self._end = end
        self._on_room = on_room
        self._untaken: dict[PortName, deque[Given]] = {port: deque() for port in PortName}
        self._is_closed = self._is_full = False
        self.connections = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._hear)

    @property
    def has_room(self) -> bool:
        """Whether the worker may be given a connection now."""
        untaken = sum(map(len, self._untaken.values()))
        return not (self._is_closed or self._is_full) and untaken < MAX_UNTAKEN

    def give(self, given: Given) -> bool:
        """Hand a connection over; return False where that cannot be now: it stays the caller's."""
        try:
            socket.send_fds(self._end, [bytes([given.port])], [given.accepted.fileno()])
        except OSError:  # its buffer is full, or it has just ended
            self._is_full = True  # until it says something
            return False
        self._untaken[given.port].append(given)
        self.connections += 1
        return True

    def close(self) -> list[Given]:
        """Give no more; return the connections that the worker has not taken."""
        if self._is_closed:
            return []
        self._is_closed = True
        self._hear_what_is_there()
        self._loop.remove_reader(self._end)
        self._end.close()
        return [given for untaken in self._untaken.values() for given in untaken]

    def _hear(self) -> None:
        if not self._hear_what_is_there():
            self._loop.remove_reader(self._end)

    def _hear_what_is_there(self) -> bool:
        """Count what the worker says; return False if it says no more."""
        try:
            said = self._end.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for port, untaken in self._untaken.items():
            for _ in range(said.count(port)):
                untaken.popleft().accepted.close()
        self.connections -= said.count(ENDED)
        if said:
            self._is_full = False
            self._on_room()
        return bool(said)


class Taker:
    """A worker's end: takes connections for the ports that are open."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._open: dict[PortName, Listener] = {}
        self._early: list[Given] = []  # at most `MAX_UNTAKEN`, as they are not confirmed
        self._unsaid = bytearray()
        self._failed = Notice(logger, "a connection cannot be taken over: %s")
        self._lost = Notice(logger, "a connection is lost: no descriptor is free")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._take_some)

    def open(self, port: PortName, listener: Listener) -> None:
        """Have a listener that has been started serve what comes in by a port."""
        self._open[port] = listener
        early, self._early = self._early, []
        for given in early:
            self._take(given)

    def close(self) -> None:
        """Take no more. What is not confirmed by then goes to another worker."""
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()
        for given in self._early:
            given.accepted.close()

    def take_all(self) -> None:
        """Take what has been given so far."""
        while self._take_some():
            pass

    def _take_some(self) -> bool:
        """Take some of what waits; return whether there may be more."""
        for _ in range(_AT_ONCE):
            try:
                said, descriptors, _, _ = socket.recv_fds(self._end, 1, 1)
            except BlockingIOError:
                return False
            except OSError as error:
                self._failed.give(error)
                return False
            if not said:
                self._loop.remove_reader(self._end)
                return False
            for descriptor in descriptors:
                self._take(Given(PortName(said[0]), socket.socket(fileno=descriptor)))
            if not descriptors:  # this process is out of them; the client learns of it
                self._lost.give()
                self._say(said + ENDED)
        return True

    def _take(self, given: Given) -> None:
        listener = self._open.get(given.port)
        if listener is None:
            self._early.append(given)
            return
        self._say(bytes([given.port]))
        listener.take(given.accepted, partial(self._say, ENDED))

    def _say(self, what: bytes) -> None:
        if self._end.fileno() >= 0:
            self._unsaid += what
            self._say_more()

    def _say_more(self) -> None:
        try:
            del self._unsaid[: self._end.send(self._unsaid)]
        except BlockingIOError:
            pass
        except OSError:  # the supervisor has ended, and so does this process
            self._unsaid.clear()
        if self._unsaid:
            self._loop.add_writer(self._end, self._say_more)
        else:
            self._loop.remove_writer(self._end)


class Takers(Protocol):
    """Knows the workers that may be given connections."""

    def givers(self) -> Sequence[Giver]:
        """Return the ends of those workers."""


class Dispatcher:
    """Accepts connections at every port while some worker has room for them."""

    def __init__(self, workers: Takers) -> None:
        self._workers = workers
        self._listening: dict[socket.socket, PortName] = {}
        self._homeless: deque[Given] = deque()  # of workers that have died: at most what they had
        self._loop = asyncio.get_running_loop()
        self._is_accepting = False
        self._turn = 0
        self.acceptor = Acceptor(self._on_accepted, self._wait, has_room=self._has_room)

    def open(self, port: PortName, listening: Iterable[socket.socket]) -> None:
        """Accept connections at these sockets, too."""
        self._pause()
        self._listening |= dict.fromkeys(listening, port)
        self.go_on()

    async def close(self, listening: Iterable[socket.socket]) -> None:
        """Hand over who has connected to these sockets, as far as there is room, and close them."""
        for each in listening:
            if each not in self._listening:
                continue
            while self.acceptor.accept_some(each):  # noqa: ASYNC110
                await asyncio.sleep(0)
            self._loop.remove_reader(each)
            del self._listening[each]
            each.close()

    def adopt(self, untaken: Iterable[Given]) -> None:
        """Give connections that a worker has not taken to others."""
        self._homeless.extend(untaken)
        self.go_on()

    def go_on(self) -> None:
        """Accept again, if there is a worker with room."""
        while self._homeless and (giver := self._choose()) is not None:
            self._give(giver, self._homeless.popleft())
        if not self._is_accepting and self._choose() is not None:
            self._is_accepting = True
            for listening in self._listening:
                self._loop.add_reader(listening, self.acceptor.accept_some, listening)

    def _pause(self) -> None:
        self._is_accepting = False
        for listening in self._listening:
            self._loop.remove_reader(listening)

    def _has_room(self) -> bool:
        """Return whether a worker has room; if none has, nothing is accepted until one has."""
        has_room = any(giver.has_room for giver in self._workers.givers())
        if not has_room:
            self._pause()
        return has_room

    def _wait(self) -> None:
        self._pause()
        self._loop.call_later(_TICK_S, self.go_on)

    def _on_accepted(self, listening: socket.socket, accepted: socket.socket, _: Any) -> None:
        given = Given(self._listening[listening], accepted)
        if (giver := self._choose()) is None:
            self._homeless.append(given)
        else:
            self._give(giver, given)

    def _give(self, giver: Giver, given: Given) -> None:
        if not giver.give(given):
            self._homeless.append(given)

    def _choose(self) -> Giver | None:
        """Return the worker with the fewest connections; of several, each in its turn."""
        free = [giver for giver in self._workers.givers() if giver.has_room]
        if not free:
            return None
        fewest = min(giver.connections for giver in free)
        idle = [giver for giver in free if giver.connections == fewest]
        self._turn += 1
        return idle[self._turn % len(idle)]


class DispatchedPort:
    """A port of the supervisor: it listens, and the workers serve. `drain` has them finish."""

    def __init__(
        self,
        name: PortName,
        where: Sequence[Address],
        dispatcher: Dispatcher,
        *,
        backlog: int,
        check: Callable[[], object],
        drain: Callable[[float], asyncio.Future[None]],
    ) -> None:
        self._name = name
        self._where = where
        self._dispatcher = dispatcher
        self._backlog = backlog
        self._check = check
        self._drain = drain
        self._listening: list[socket.socket] = []
        self.port: int | None = None

    async def start(self) -> None:
        """Listen.

        Raises `Unavailable` if an address cannot be had, and what `check`, in a thread, raises.
        """
        try:
            await asyncio.to_thread(self._check)
            for address in self._where:
                listening = await asyncio.to_thread(addresses.listen, address, self._backlog)
                self._listening.append(listening)
        except BaseException as error:
            await self._close()
            if isinstance(error, SigrunError):
                raise type(error)(f"{_SAID[self._name]} {error}") from None
            raise
        self.port = first_port(self._listening)
        self._dispatcher.open(self._name, self._listening)

    async def stop(self, grace_s: float) -> None:
        """Listen no more, and have the workers finish what they have, for up to `grace_s`."""
        await self._close()
        await self._drain(grace_s)

    async def use_tls(self, tls: TlsOptions) -> None:
        """Do nothing: each worker follows the files of its certificates."""

    async def _close(self) -> None:
        for address in self._where[: len(self._listening)]:
            if isinstance(address, Unix):
                await asyncio.to_thread(addresses.remove, address)
        await self._dispatcher.close(self._listening)
        for listening in self._listening:  # those that were never opened
            listening.close()
        self._listening = []
