"""A cost model of a signature: what a run costs, as a fixed time and a time for each row.

In: how long runs of so many rows took. Out: up to which size a run is so short that merging it
costs more than it saves, over how many runners to share rows that wait, and what a queue takes at
least.

Where the fixed time dominates (small models; accelerators) rows run together. Where the rows do,
and runners have nothing to do, each gets a share: the rows then compute at the same time.

The line is fitted by least squares over recent runs, with weights that fall by a constant factor
from each run to the one before, so that five sums are all that has to be kept. Runs are timed by
the clock on the wall, and what disturbs them makes them slower, never faster: slow outliers are cut
off, fast ones count more than what came before.
"""

from __future__ import annotations

_FORGETTING = 0.98  # the weight of a run, compared to that of the next one
_FORGETTING_SLOW = 0.5  # the same, before a run that was much faster than expected
_SURPRISE = 4.0  # a run that much slower or faster than expected says little, or a lot
_MIN_SHARE_S = 0.002  # what a run must take to be worth a runner; a shorter one may be inline
_SHORT_S = 40e-6  # what a place in a batch costs: queue, future, task, copies in and out
_STILL_SHORT_S = 2 * _SHORT_S  # what makes runs longer, such as a busy CPU, does so to the rest too
_BRIEF_S = 150e-6  # what the executors run on the event loop, without any thread
_RUNS_TO_TELL = 4
_MIN_VARIANCE = 0.01  # of the sizes of runs, below which they do not tell the fixed part
_NEWS = 1.5  # a run larger than those that were seen by this factor tells something new


class CostModel:
    """A line through recent run times, the latest ones weighing most."""

    __slots__ = (
        "_last_rows",
        "_last_s",
        "_rows",
        "_rows_rows",
        "_rows_s",
        "_runs",
        "_s",
        "_weight",
    )

    def __init__(self) -> None:
        self._runs = 0
        self._weight = 0.0
        self._rows = 0.0
        self._s = 0.0
        self._rows_rows = 0.0
        self._rows_s = 0.0
        self._last_rows = 1
        self._last_s = 0.0

    def observe(self, rows: int, duration_s: float) -> None:
        """Learn that a run of `rows` rows, 1 or more, took so long."""
        keep = _FORGETTING
        self._last_rows, self._last_s = rows, duration_s
        if self._runs:
            mean_s, size = self._s / self._weight, rows * self._weight / self._rows
            most_s = _SURPRISE * mean_s * max(1.0, size)
            if duration_s > most_s:
                duration_s = most_s  # the thread was preempted, or garbage was collected
            elif duration_s * _SURPRISE < mean_s * min(1.0, size):
                keep = _FORGETTING_SLOW  # what is known comes from such times, or a cold start
        self._runs += 1
        self._weight = self._weight * keep + 1
        self._rows = self._rows * keep + rows
        self._s = self._s * keep + duration_s
        self._rows_rows = self._rows_rows * keep + rows * rows
        self._rows_s = self._rows_s * keep + rows * duration_s

    @property
    def mean_s(self) -> float | None:
        """How long a run took of late, or None if there was none."""
        return self._s / self._weight if self._runs else None

    def short_rows(self, *, is_short: bool = False) -> int:
        """Return up to how many rows a run costs less than to merge it with others; 0: never.

        Where it did so far (`is_short`), it is taken to do so until it clearly does not: between
        the two, one slow run would send all requests the other way.
        """
        return self._rows_within(_STILL_SHORT_S if is_short else _SHORT_S)

    def brief_rows(self) -> int:
        """Return up to how many rows a run is over before a runner is worth keeping for it."""
        return self._rows_within(_BRIEF_S)

    def tells_by_less(self, rows: int) -> bool:
        """Return whether a run of so many rows would say if those of more were worth merging.

        So it is where runs of many rows are brief: each of fewer might be short, and as long as
        requests come together nobody ever sees one.
        """
        return (
            self._runs > _RUNS_TO_TELL
            and self._s <= _BRIEF_S * self._weight
            and 2 * rows * self._weight <= self._rows
        )

    def _rows_within(self, most_s: float) -> int:
        """Return up to how many rows a run takes `most_s`, by the mean or by the line."""
        if self._runs <= _RUNS_TO_TELL:
            return 0
        mean_rows, mean_s = self._rows / self._weight, self._s / self._weight
        if mean_s <= most_s:
            return int(mean_rows * most_s / max(mean_s, 1e-9))
        fixed_s, row_s = self._line() or (mean_s, 0.0)
        if row_s <= 0:
            return 0
        return max(0, int((most_s - max(fixed_s, 0.0)) / row_s))

    def worthwhile_shares(self, rows: int) -> int:
        """Return over how many runners it would pay to share `rows` rows; 1: run them together.

        While runs of one size only are known, the answer is the one that teaches more: a
        larger run than those, or else smaller ones.
        """
        if not self._runs:
            return 1
        line = self._line()
        if line is not None:
            fixed_s, row_s = line
        elif rows < _NEWS * self._rows / self._weight:
            fixed_s, row_s = 0.0, self._s / self._rows
        else:
            return 1
        return max(1, int(row_s * rows / max(fixed_s, _MIN_SHARE_S)))

    def least_s(self, rows: int, *, batch_rows: int) -> float:
        """Return what `rows` rows take at least, in batches of up to `batch_rows`, one by one.

        It errs on the low side: 0 while little is known, and rows cost nothing until runs of
        several sizes have shown that they do. If the last run took less than expected, so will
        these: one very slow run, often the first, counts for little as soon as it is over.
        """
        if self._runs <= _RUNS_TO_TELL:
            return 0.0
        fixed_s, row_s = self._line() or (self._s / self._weight, 0.0)
        fixed_s, row_s = max(0.0, fixed_s), max(0.0, row_s)
        expected_s = -(-rows // batch_rows) * fixed_s + rows * row_s
        last_expected_s = fixed_s + self._last_rows * row_s
        return expected_s * min(1.0, self._last_s / max(last_expected_s, 1e-9))

    def _line(self) -> tuple[float, float] | None:
        """Return the fixed time and the time of a row; None while all runs are of one size."""
        mean_rows, mean_s = self._rows / self._weight, self._s / self._weight
        variance = self._rows_rows / self._weight - mean_rows * mean_rows
        if variance < _MIN_VARIANCE * mean_rows * mean_rows:
            return None
        row_s = (self._rows_s / self._weight - mean_rows * mean_s) / variance
        return mean_s - row_s * mean_rows, row_s
