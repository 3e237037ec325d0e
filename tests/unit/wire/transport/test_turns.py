"""Whose turn it is, without a loop and without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sigrun.wire.transport.turns import SLICE_S, TURN_S, FairQueue, Turns


class TestFairQueue:
    def test_connections_of_one_door_are_served_in_the_order_in_which_they_came(self) -> None:
        queue = FairQueue[str]()
        door = queue.add_door("grpc")
        for name in ("a", "b", "c"):
            queue.add(door, name)

        assert [item for _, item in iter(queue.take, None)] == ["a", "b", "c"]
        assert queue.size == 0

    def test_the_door_that_has_used_less_time_is_next(self) -> None:
        queue = FairQueue[str]()
        grpc, http = queue.add_door("grpc"), queue.add_door("http")
        for _ in range(4):
            queue.add(grpc, "grpc")
            queue.add(http, "http")
        order = []

        while (chosen := queue.take()) is not None:
            door, item = chosen
            door.used_s += 0.003 if item == "grpc" else 0.001
            order.append(item)

        assert order == ["grpc", "http", "http", "http", "grpc", "http", "grpc", "grpc"]

    def test_a_door_that_was_idle_gets_no_credit_for_it(self) -> None:
        queue = FairQueue[str]()
        busy, idle = queue.add_door("busy"), queue.add_door("idle")
        for _ in range(100):
            queue.add(busy, "busy")
        for _ in range(50):
            assert queue.take() == (busy, "busy")
            busy.used_s += 1.0

        for _ in range(10):
            queue.add(idle, "idle")
        order = []
        for _ in range(6):
            chosen = queue.take()
            assert chosen is not None
            chosen[0].used_s += 1.0
            order.append(chosen[1])

        assert order.count("idle") == 3

    def test_what_was_used_while_nobody_waited_is_forgiven(self) -> None:
        queue = FairQueue[str]()
        first, second = queue.add_door("first"), queue.add_door("second")
        first.used_s = 100.0

        queue.add(second, "second")
        queue.add(first, "first")

        assert first.used_s == second.used_s == 100.0

    def test_a_door_that_is_removed_takes_with_it_what_waits_there(self) -> None:
        queue = FairQueue[str]()
        gone, stays = queue.add_door("gone"), queue.add_door("stays")
        queue.add(gone, "gone")
        queue.add(stays, "stays")

        queue.remove_door(gone)

        assert queue.take() == (stays, "stays")
        assert queue.take() is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Loop:
    """An event loop of which nothing is used but `call_soon`."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.due.append(callback)

    def poll(self) -> None:
        """Do what is due, and not what it makes due."""
        due, self.due = self.due, []
        for callback in due:
            callback()


class FakeConnection:
    """Has a number of requests, each of which takes some time."""

    def __init__(self, clock: Clock, name: str, requests: int, cost_s: float) -> None:
        self.clock, self.name, self.requests, self.cost_s = clock, name, requests, cost_s
        self.log: list[str] = []

    def take_turn(self, until: float) -> bool:
        while self.requests:
            self.requests -= 1
            self.clock.now += self.cost_s
            self.log.append(self.name)
            if self.clock.now >= until:
                break
        return bool(self.requests)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def turns(clock: Clock, loop: Loop) -> Turns:
    return Turns(loop, clock)  # type: ignore[arg-type]


class TestTurns:
    def test_a_request_runs_at_once_if_nobody_waits(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        connection = FakeConnection(clock, "a", requests=1, cost_s=0.0001)

        turns.offer(turns.add_door("grpc"), connection, since=clock())

        assert (connection.requests, loop.due) == (0, [])

    def test_a_connection_with_much_to_do_goes_on_after_others_were_read(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        connection = FakeConnection(clock, "a", requests=100, cost_s=0.0001)

        turns.offer(turns.add_door("grpc"), connection, since=clock())

        assert len(connection.log) == pytest.approx(SLICE_S / 0.0001, abs=1)
        assert len(loop.due) == 1

    def test_the_loop_polls_after_each_millisecond(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        connection = FakeConnection(clock, "a", requests=1000, cost_s=0.0001)
        turns.offer(turns.add_door("grpc"), connection, since=clock())

        while loop.due:
            before = clock.now
            loop.poll()
            assert clock.now - before <= TURN_S + SLICE_S + 0.0002
        assert connection.requests == 0

    def test_what_runs_at_once_is_bounded_between_polls(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        door = turns.add_door("http")
        many = [FakeConnection(clock, str(n), requests=1, cost_s=0.0002) for n in range(50)]

        for connection in many:
            turns.offer(door, connection, since=clock())

        assert [connection.requests for connection in many] == [0] * 5 + [1] * 45
        while loop.due:
            loop.poll()
        assert all(not connection.requests for connection in many)

    def test_who_waits_for_another_turn_is_behind_others_and_its_door_pays(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        door = turns.add_door("http")
        first = FakeConnection(clock, "first", requests=1, cost_s=0.0001)
        reader = FakeConnection(clock, "reader", requests=1, cost_s=0.0001)
        turns.wait(door, first, since=clock())
        clock.now += 0.0002  # of reading

        turns.wait(door, reader, since=clock() - 0.0002)
        assert reader.requests == 1
        assert door.used_s == pytest.approx(0.0002)
        loop.poll()

        assert (first.requests, reader.requests, loop.due) == (0, 0, [])

    def test_a_flooding_connection_does_not_hold_up_a_calm_one(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        door = turns.add_door("grpc")
        flooding = FakeConnection(clock, "flood", requests=10_000, cost_s=0.0001)
        calm = FakeConnection(clock, "calm", requests=1, cost_s=0.0001)
        turns.offer(door, flooding, since=clock())
        loop.poll()
        arrived_at = clock.now

        turns.offer(door, calm, since=clock())
        while calm.requests:
            loop.poll()

        assert clock.now - arrived_at <= 2 * TURN_S + SLICE_S

    def test_doors_share_time_and_not_numbers(self, turns: Turns, clock: Clock, loop: Loop) -> None:
        grpc, http = turns.add_door("grpc"), turns.add_door("http")
        slow = FakeConnection(clock, "slow", requests=10_000, cost_s=0.002)
        quick = [FakeConnection(clock, "quick", requests=10_000, cost_s=0.0001) for _ in range(4)]
        turns.offer(grpc, slow, since=clock())
        for connection in quick:
            turns.offer(http, connection, since=clock())

        for _ in range(200):
            loop.poll()

        quick_s = sum(len(connection.log) for connection in quick) * 0.0001
        assert len(slow.log) * 0.002 == pytest.approx(quick_s, rel=0.1)

    def test_it_is_asked_of_the_loop_once_however_many_wait(
        self, turns: Turns, clock: Clock, loop: Loop
    ) -> None:
        door = turns.add_door("grpc")
        for _ in range(20):
            turns.offer(door, FakeConnection(clock, "a", 2, cost_s=1.0), since=clock())

        assert len(loop.due) == 1


def test_turns_belong_to_the_running_loop() -> None:
    async def make() -> None:
        Turns()

    asyncio.run(make())
    with pytest.raises(RuntimeError):
        Turns()
