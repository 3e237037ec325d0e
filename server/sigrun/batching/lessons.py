"""Have requests run one by one for a while, to see what it hides that they are merged.

In: that a batch of several runs. Out: whether the next request is to run alone. Pure.

Where requests always meet, every run is of many, and nobody sees that one alone would be over
before it is merged. A single run in between does not show it either: it finds the caches full of
what the batches around it left there, and takes several times as long as the one behind it would.
So a lesson is a row of requests, run one by one as if that were the rule. While lessons change
nothing they become rare.
"""

from __future__ import annotations

_REQUESTS = 16  # of a lesson
_BATCHES_BEFORE = 24  # the first lesson; before the next ones twice as many each time
_MOST_BATCHES_BEFORE = 16 * _BATCHES_BEFORE


class Lessons:
    """Counts the batches between lessons, and the requests of one."""

    __slots__ = ("_batches", "_batches_before", "_left")

    def __init__(self) -> None:
        self._batches = 0
        self._batches_before = _BATCHES_BEFORE
        self._left = 0

    def merged(self) -> bool:
        """Count a batch of several; return whether it is time for a lesson."""
        self._batches += 1
        return self._batches >= self._batches_before

    def begin(self) -> None:
        """Have the next requests run alone."""
        self._left = _REQUESTS
        self._batches = 0
        self._batches_before = min(2 * self._batches_before, _MOST_BATCHES_BEFORE)

    def takes(self) -> bool:
        """Return whether the next request runs alone, and count it."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def changed_something(self) -> None:
        """Take note that requests run alone from now on; lessons are frequent again after that."""
        self._batches_before = _BATCHES_BEFORE
        self._left = 0
