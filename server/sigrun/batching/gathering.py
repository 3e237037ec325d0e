"""Coalescing: decide when the requests that arrive at about the same time have all arrived.

In: requests, and the turns of the event loop between them. Out: whether to go on waiting. Pure.

Some transports hand over everything that one read of the sockets brought in one turn of the loop;
others, grpcio's server among them, one request in each turn. So a small group waits for another
turn as long as every turn brings somebody, but not for longer than it takes to notice.
"""

from __future__ import annotations

_FEW = 8  # requests, from which on another one adds little to what a batch saves
_LONGEST_S = 300e-6  # turns are long when the loop is busy with other things


class Gathering:
    """One group that forms. Every time is in seconds of the caller's clock."""

    __slots__ = ("_arrived", "_arrived_in_turn", "_began_at")

    def __init__(self) -> None:
        self._began_at = 0.0
        self._arrived = self._arrived_in_turn = 0

    def begin(self, now: float) -> None:
        """Start a new group, of nobody yet."""
        self._began_at = now
        self._arrived = self._arrived_in_turn = 0

    def arrived(self) -> None:
        """Count a request into the group."""
        self._arrived += 1
        self._arrived_in_turn += 1

    def is_complete(self, now: float) -> bool:
        """Return whether the group leaves; to be asked once in each turn of the event loop."""
        brought, self._arrived_in_turn = self._arrived_in_turn, 0
        return not brought or self._arrived >= _FEW or now - self._began_at >= _LONGEST_S
