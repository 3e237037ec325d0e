"""Whose turn it is: all connections of all doors share one event loop.

In: connections that have something to do. Out: calls of their `take_turn`, in an order and in
portions that are fair.

- Whatever a connection does, it does in turns. A turn ends after requests were begun for `SLICE_S`,
  after a large read, and after one portion of answers was written (`Limits.max_take_bytes`): each
  takes some hundred microseconds. What is left to do waits for the next turn.
- Doors (gRPC, HTTP) share by time: the one that has used least is next. A door that was idle
  gets no credit for it. Connections of one door go round.
- After `TURN_S` the event loop polls its sockets before it goes on.

Nothing waits when nothing else is about: while the queue is empty and less than `TURN_S` was used
since the loop has last polled, a connection runs at once, within the read that brought its
requests. `FairQueue` decides and knows no clock; `Turns` does as it says.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

TURN_S = 0.001
SLICE_S = 0.0003
# Behind so much there is probably more, and uvloop would go on reading it for megabytes.
LARGE_READ_BYTES = 32 * 1024


class Runnable(Protocol):
    """A connection, as its turns see it."""

    def take_turn(self, until: float) -> bool:
        """Do something, requests until a time of the clock; return whether more is to do."""


T = TypeVar("T")


class Door(Generic[T]):
    """One way in, and what waits there. `used_s` is its time on the loop, since the start."""

    __slots__ = ("name", "used_s", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.used_s = 0.0
        self.waiting: deque[T] = deque()


class FairQueue(Generic[T]):
    """Decides what is next. Whoever owns it says how long each took."""

    def __init__(self) -> None:
        self._doors: list[Door[T]] = []
        self._floor_s = 0.0  # what the door that was last chosen had used
        self.size = 0

    def add_door(self, name: str) -> Door[T]:
        """Make a door that shares with the others."""
        door = Door[T](name)
        self._doors.append(door)
        return door

    def remove_door(self, door: Door[T]) -> None:
        """Forget a door and what waits there."""
        self._doors.remove(door)
        self.size -= len(door.waiting)

    def add(self, door: Door[T], item: T) -> None:
        """Let something wait, behind what waits at the same door."""
        if not self.size:  # nobody has waited: what was used until now is forgiven
            self._floor_s = max(door.used_s for door in self._doors)
        if not door.waiting:
            door.used_s = max(door.used_s, self._floor_s)
        door.waiting.append(item)
        self.size += 1

    def take(self) -> tuple[Door[T], T] | None:
        """Remove and return what is next, or None if nothing waits."""
        chosen = None
        for door in self._doors:
            if door.waiting and (chosen is None or door.used_s < chosen.used_s):
                chosen = door
        if chosen is None:
            return None
        self._floor_s = max(self._floor_s, chosen.used_s)
        self.size -= 1
        return chosen, chosen.waiting.popleft()


class Turns:
    """Gives connections their turns. One for each event loop; all listeners share it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        clock: Callable[[], float] = time.monotonic,  # for all connections as well
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self.clock = clock
        self._queue: FairQueue[Runnable] = FairQueue()
        self._used_s = 0.0  # since the loop has last polled its sockets
        self._is_due = False
        self.add_door = self._queue.add_door
        self.remove_door = self._queue.remove_door

    def offer(self, door: Door[Runnable], connection: Runnable, since: float) -> None:
        """Run a connection now, or queue it; it must not be queued already.

        `since` is when work for it began: reading is charged to its door as well.
        """
        if not self._queue.size and self._used_s < TURN_S:
            has_more = connection.take_turn(since + SLICE_S)
            used_s = self.clock() - since
            self._used_s += used_s
            door.used_s += used_s
            if not has_more:
                return
        self._add(door, connection)

    def wait(self, door: Door[Runnable], connection: Runnable, since: float) -> None:
        """Queue a connection that has had its turn since then; it must not be queued already."""
        used_s = self.clock() - since
        self._used_s += used_s
        door.used_s += used_s
        self._add(door, connection)

    def _add(self, door: Door[Runnable], connection: Runnable) -> None:
        self._queue.add(door, connection)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Run what waits until the time of one turn is over, and go on after the next poll."""
        queue, clock = self._queue, self.clock
        began = now = clock()
        try:
            while now - began < TURN_S and (chosen := queue.take()) is not None:
                door, connection = chosen
                has_more = connection.take_turn(now + SLICE_S)
                used_s = -now + (now := clock())
                door.used_s += used_s
                if has_more:
                    queue.add(door, connection)
        finally:  # whatever went wrong with one, the others have their turns
            self._used_s = 0.0
            self._is_due = queue.size > 0
            if self._is_due:
                self._loop.call_soon(self._run)
