"""Connections reach the workers, whatever becomes of the workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from sigrun.wire.transport import addresses
from sigrun.wire.transport.addresses import Tcp
from sigrun.wire.transport.listener import Listener
from sigrun.workers.handover import MAX_UNTAKEN, Dispatcher, Giver, PortName, Taker

pytestmark = pytest.mark.asyncio

HOST = "127.0.0.1"


class Served:
    """Stands for a listener: keeps the connections that it is given."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self.ends: list[Callable[[], None]] = []

    def take(self, accepted: socket.socket, when_gone: Callable[[], None]) -> None:
        self.taken.append(accepted)
        self.ends.append(when_gone)

    def end_one(self) -> None:
        self.taken.pop().close()
        self.ends.pop()()

    def close(self) -> None:
        for each in self.taken:
            each.close()


class Rig:
    """A dispatcher at a free port, and workers in this process."""

    def __init__(self) -> None:
        self.giving: list[Giver] = []
        self.taking: list[Taker] = []
        self.served: list[Served] = []
        self.dispatcher = Dispatcher(self)
        self.listening = addresses.listen(Tcp(HOST, 0), 128)
        self.clients: list[socket.socket] = []
        self.dispatcher.open(PortName.GRPC, [self.listening])

    def givers(self) -> list[Giver]:
        return self.giving

    def add_worker(self, *, is_open: bool = True) -> Served:
        ours, theirs = socket.socketpair()
        self.giving.append(Giver(ours, self.dispatcher.go_on))
        taker, served = Taker(theirs), Served()
        self.taking.append(taker)
        self.served.append(served)
        if is_open:
            taker.open(PortName.GRPC, cast("Listener", served))
        self.dispatcher.go_on()
        return served

    def lose_worker(self, number: int) -> None:
        self.taking.pop(number).close()
        self.dispatcher.adopt(self.giving.pop(number).close())

    async def connect(self, count: int = 1) -> None:
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, self.listening.getsockname())
            self.clients.append(client)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    try:
        yield made
    finally:
        await made.dispatcher.close([made.listening])
        for giver in made.giving:
            for given in giver.close():
                given.accepted.close()
        for taker in made.taking:
            taker.close()
        for served in made.served:
            served.close()
        for client in made.clients:
            client.close()


async def test_connections_go_to_the_worker_that_has_the_fewest() -> None:
    async with rig() as made:
        one, other = made.add_worker(), made.add_worker()

        await made.connect(6)
        await made.until(lambda: len(one.taken) == len(other.taken) == 3)
        one.end_one()
        one.end_one()
        await made.until(lambda: made.giving[0].connections == 1)
        await made.connect(2)

        await made.until(lambda: len(one.taken) == len(other.taken) == 3)


async def test_a_connection_works_in_the_process_that_has_taken_it() -> None:
    async with rig() as made:
        served = made.add_worker()
        await made.connect()
        await made.until(lambda: len(served.taken) == 1)

        served.taken[0].sendall(b"hello")

        assert await asyncio.get_running_loop().sock_recv(made.clients[0], 5) == b"hello"


async def test_who_connects_before_a_worker_is_there_waits_for_it() -> None:
    async with rig() as made:
        await made.connect(3)

        served = made.add_worker()

        await made.until(lambda: len(served.taken) == 3)


async def test_what_a_worker_has_not_taken_when_it_dies_goes_to_another() -> None:
    async with rig() as made:
        made.add_worker(is_open=False)
        await made.connect(3)
        await made.until(lambda: made.giving[0].connections == 3)

        made.lose_worker(0)
        served = made.add_worker()

        await made.until(lambda: len(served.taken) == 3)


async def test_a_worker_that_takes_nothing_is_given_no_more_than_its_bound() -> None:
    async with rig() as made:
        made.add_worker(is_open=False)

        await made.connect(MAX_UNTAKEN + 5)
        await made.until(lambda: made.giving[0].connections == MAX_UNTAKEN)
        served = made.add_worker()

        await made.until(lambda: len(served.taken) == 5)
        assert made.giving[0].connections == MAX_UNTAKEN


async def test_what_came_before_a_port_is_open_is_served_when_it_is() -> None:
    async with rig() as made:
        made.add_worker(is_open=False)
        await made.connect(2)
        await made.until(lambda: made.giving[0].connections == 2)

        made.taking[0].open(PortName.GRPC, cast("Listener", made.served[0]))

        await made.until(lambda: len(made.served[0].taken) == 2)


async def test_what_waits_for_one_port_holds_up_nobody_at_another() -> None:
    async with rig() as made:
        made.add_worker(is_open=False)
        http = addresses.listen(Tcp(HOST, 0), 128)
        made.dispatcher.open(PortName.HTTP, [http])
        made.taking[0].open(PortName.HTTP, cast("Listener", made.served[0]))
        await made.connect()
        await made.until(lambda: made.giving[0].connections == 1)
        client = socket.create_connection(http.getsockname())
        await made.until(lambda: len(made.served[0].taken) == 1)

        made.served[0].end_one()

        await made.until(lambda: made.giving[0].connections == 1)
        assert await asyncio.to_thread(client.recv, 1) == b""  # no other process holds it open
        client.close()
        await made.dispatcher.close([http])


async def test_closing_a_port_hands_over_who_has_connected_before() -> None:
    async with rig() as made:
        served = made.add_worker()
        await made.connect(3)

        await made.dispatcher.close([made.listening])

        await made.until(lambda: len(served.taken) == 3)
