"""Learn from the runs of a signature whether rows had better run together or apart.

In: how long runs of so many rows took. Out: over how many runners to share rows that wait, and
whether a run is so short that it had better not wait at all.

A run is taken to cost a fixed time, and a time for each row. Where the fixed time dominates (small
models; accelerators) rows run together. Where the rows do, and there are runners without work,
each gets a share: the rows then compute at the same time.
"""

from __future__ import annotations

_FORGETTING = 0.98  # of what was known, so much is left after another run
_MIN_SHARE_S = 0.002  # what a run must take to be worth a runner; a shorter one may be inline
_SHORT_S = 30e-6  # what a place in a batch costs: queue, future, copies in and out
_RUNS_TO_TELL = 4
_MIN_VARIANCE = 0.01  # of the sizes of runs, below which their times tell no fixed part
_NEWS = 1.5  # a run larger than those that were seen by this factor tells something new


class RunTimes:
    """A line through recent run times, the latest ones weighing most."""

    __slots__ = ("_rows", "_rows_rows", "_rows_s", "_s", "_weight")

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = 0.0
        self._s = 0.0
        self._rows_rows = 0.0
        self._rows_s = 0.0

    def add(self, rows: int, duration_s: float) -> None:
        """Learn that a run of `rows` rows took so long."""
        keep = _FORGETTING
        self._weight = self._weight * keep + 1
        self._rows = self._rows * keep + rows
        self._s = self._s * keep + duration_s
        self._rows_rows = self._rows_rows * keep + rows * rows
        self._rows_s = self._rows_s * keep + rows * duration_s

    def is_short(self, rows: int) -> bool:
        """Return whether a run of `rows` rows costs less than to put it together with others."""
        if self._weight <= _RUNS_TO_TELL:
            return False
        mean_rows, mean_s = self._rows / self._weight, self._s / self._weight
        return mean_s * max(1.0, rows / mean_rows) <= _SHORT_S

    def worthwhile_shares(self, rows: int) -> int:
        """Return over how many runners it would pay to share `rows` rows; 1: run them together.

        While runs of one size only are known, the answer is the one that teaches more: a
        larger run than those, or else smaller ones.
        """
        if not self._weight:
            return 1
        mean_rows, mean_s = self._rows / self._weight, self._s / self._weight
        variance = self._rows_rows / self._weight - mean_rows * mean_rows
        if variance >= _MIN_VARIANCE * mean_rows * mean_rows:
            row_s = (self._rows_s / self._weight - mean_rows * mean_s) / variance
            fixed_s = mean_s - row_s * mean_rows
        elif rows < _NEWS * mean_rows:
            row_s, fixed_s = mean_s / mean_rows, 0.0
        else:
            return 1
        return max(1, int(row_s * rows / max(fixed_s, _MIN_SHARE_S)))
