"""Let requests past the scheduler where it could do nothing for them.

In: up to how many rows a request may have to go past, after each run that was timed. Out: whether
one of so many rows goes straight to the model. Pure.

Even to look whether anybody else is about, to take a runner and to time the run costs as much as
half a run of a small model. So where runs cost less than merging them, or are brief and nobody
else has come for a while, most requests skip it all. One in a few does not: it finds out when that
has changed.
"""

from __future__ import annotations

_IN_A_ROW = 15  # requests that go past before one does not


class Bypass:
    """Counts the requests that may still go straight to the model."""

    __slots__ = ("_rows", "left")

    def __init__(self) -> None:
        self.left = 0
        self._rows = 0

    def lets_past(self, rows: int) -> bool:
        """Return whether a request of `rows` rows goes straight to the model; `went_past` then."""
        return self.left > 0 and rows <= self._rows

    def went_past(self) -> None:
        """Count a request that went straight to the model."""
        self.left -= 1

    def renew(self, rows: int) -> None:
        """Let the next few requests of up to `rows` rows past; 0: none."""
        self._rows = rows
        self.left = _IN_A_ROW if rows else 0

    def taken(self) -> int:
        """Return how many requests went past since it was renewed."""
        return _IN_A_ROW - self.left if self._rows else 0
