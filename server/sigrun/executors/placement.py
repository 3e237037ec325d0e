"""Decide where a call runs: on the event loop itself, or in a runner thread.

In: how large the inputs of a request are, and how long runs took. Out: whether the next one
goes inline. Nothing here reads a clock.

A thread costs a small model more than its run does: the hand-over, twice, and the wait for
the interpreter's lock. On the event loop a run costs nothing more, but everything else waits
for it. So a call goes inline once it is known to be short, for inputs of about the size
with which it was; and leaves again when it proves not to be.

Sizes are classes: each holds twice the bytes of the one before. What is known of one holds
for small inputs of any class, and for inputs of a few times the size.
"""

from __future__ import annotations

from dataclasses import dataclass

INLINE_S = 150e-6
"""A call that takes longer goes to a thread."""

SLOW_S = 2e-3
"""An inline run that takes longer is slow: the loop stood still."""

_RUNS_TO_JUDGE = 5  # the best of them counts: a thread also waits for the interpreter
_SLOW_WITHIN = 100  # inline runs, of which one may be slow: collecting garbage takes time too
_RUNS_TO_RETURN = 300  # fast ones in threads, before a call goes inline again
_MOST_RUNS_TO_RETURN = 100_000
_SLOW_OUTWEIGHS = 10  # fast ones
_SMALL_BYTES = 16 * 1024
_CLASSES_UP = 3  # to eight times the size


class Placement:
    """Where one call runs. Used on the event loop only."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}

    def is_inline(self, input_bytes: int) -> bool:
        """Return whether a run with inputs of this size is to go inline."""
        size = self._sizes.get(input_bytes.bit_length())
        return (size or self._new_size(input_bytes)).is_inline

    def is_suspect(self, input_bytes: int) -> bool:
        """Return whether one more slow run would take it to the threads: be sure of that one."""
        return self._size(input_bytes).runs_since_slow < _SLOW_WITHIN

    def measured(self, input_bytes: int, run_s: float) -> None:
        """Take note of how long a run takes at best."""
        size = self._size(input_bytes)
        size.is_inline, size.is_known = run_s <= INLINE_S, True

    def ran_inline(self, input_bytes: int, run_s: float) -> None:
        """Take note of a run on the event loop."""
        size = self._size(input_bytes)
        size.is_known = True
        size.runs_since_slow += 1
        if run_s > SLOW_S:
            size.was_slow()

    def ran_in_thread(self, input_bytes: int, run_s: float) -> None:
        """Take note of a run in a thread."""
        size = self._size(input_bytes)
        if size.is_inline:
            return
        if size.runs_to_return:
            size.count_towards_return(run_s)
        else:
            size.judge(run_s)

    def _size(self, input_bytes: int) -> _Size:
        return self._sizes.get(input_bytes.bit_length()) or self._new_size(input_bytes)

    def _new_size(self, input_bytes: int) -> _Size:
        """Return the class of `input_bytes`, inline if what is known of others holds for it."""
        number = input_bytes.bit_length()
        known = [other for other, size in self._sizes.items() if size.is_known]
        larger = (other for other in known if other > number)
        nearest = min(larger, default=max(known, default=None))
        is_inline = (
            nearest is not None
            and self._sizes[nearest].is_inline
            and (number <= nearest + _CLASSES_UP or input_bytes <= _SMALL_BYTES)
        )
        return self._sizes.setdefault(number, _Size(is_inline=is_inline))


@dataclass(slots=True)
class _Size:
    """What is known of a call with inputs of one class of sizes."""

    is_inline: bool
    is_known: bool = False  # else nothing has run yet, and others are what it goes by
    runs_since_slow: int = _SLOW_WITHIN
    runs_to_return: int = 0  # once it proved too slow: how many fast runs it takes
    fast_runs: int = 0
    judged_runs: int = 0
    best_s: float = float("inf")

    def was_slow(self) -> None:
        """Go to threads when this happened shortly before, for longer each time."""
        if self.runs_since_slow < _SLOW_WITHIN:
            self.is_inline = False
            self.runs_to_return = min(
                max(2 * self.runs_to_return, _RUNS_TO_RETURN), _MOST_RUNS_TO_RETURN
            )
            self.fast_runs = 0
        self.runs_since_slow = 0

    def count_towards_return(self, run_s: float) -> None:
        """Go inline when enough runs were fast, with few slow ones among them."""
        if run_s <= SLOW_S:
            self.fast_runs += 1
        else:
            self.fast_runs = max(0, self.fast_runs - _SLOW_OUTWEIGHS)
        if self.fast_runs >= self.runs_to_return:
            self.is_inline = True
            self.runs_since_slow = _SLOW_WITHIN

    def judge(self, run_s: float) -> None:
        """Decide by the best of a few runs."""
        self.best_s = min(self.best_s, run_s)
        self.judged_runs += 1
        if self.judged_runs == _RUNS_TO_JUDGE:
            self.is_inline, self.is_known = self.best_s <= INLINE_S, True
            self.judged_runs, self.best_s = 0, float("inf")
