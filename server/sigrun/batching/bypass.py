"""Let requests past the scheduler whose runs cost less than batching them would.

In: up to how many rows a run is that short, after each run that was timed. Out: whether a request
of so many rows goes straight to the model. Pure.

Even to look whether anybody else is about, to take a runner and to time the run costs as much as
half a run of a small model. So most requests skip it all, and one in a few does not and is timed:
it finds out when runs have become longer.
"""

from __future__ import annotations

_UNTIMED = 15  # requests between two that are timed


class Bypass:
    """Counts the requests that may still go straight to the model."""

    __slots__ = ("_rows", "left")

    def __init__(self) -> None:
        self.left = 0
        self._rows = 0

    def takes(self, rows: int) -> bool:
        """Return whether a request of `rows` rows goes straight to the model, and count it."""
        if not self.left or rows > self._rows:
            return False
        self.left -= 1
        return True

    def renew(self, rows: int) -> None:
        """Let the next few requests of up to `rows` rows past; 0: none."""
        self._rows = rows
        self.left = _UNTIMED if rows else 0
