"""Decide where a call runs: on the event loop itself (inline), or in a runner thread.

In: how large the inputs of a request are, and how long runs took. Out: whether the next one goes
inline. Nothing here reads a clock.

A thread costs a small model more than its run does: the hand-over, twice, and the wait for the GIL.
On the event loop a run costs nothing more, but everything else waits for it. So a call goes inline
once it is known to be short, for inputs of about the size with which it was, and leaves again
when it proves not to be. Going back takes much more than leaving did, and more each time
(hysteresis): a call that is short on most days and long on some must not stop the loop on each of
them.

Sizes are classes: each holds twice the bytes of the one before. What is known of one holds for
small inputs of any class, and for inputs of a few times the size. The states of a class:

    state      runs        what is counted                  becomes
    JUDGING    in threads  runs, and the best time          INLINE if the best of 5 was short
    INLINE     inline      nothing                          SUSPECT after a slow run
    SUSPECT    inline      runs since the slow one          INLINE after 100, BANISHED after
                                                            another slow one before that
    BANISHED   in threads  fast runs, less 10 for each      INLINE after 300; after 600 the next
                           slow one                         time, then 1,200, ...

"Short" is what a call should take to be inline; "slow" is what stops the loop for so long that
others notice, which a short call does now and then when garbage is collected.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

INLINE_S = 150e-6
"""A call that takes longer goes to a thread."""

SLOW_S = 2e-3
"""An inline run that takes longer is slow: the loop stood still."""

_RUNS_TO_JUDGE = 5  # the best of them counts: a thread also waits for the GIL
_SLOW_WITHIN = 100  # inline runs, of which one may be slow
_RUNS_TO_RETURN = 300  # fast ones in threads, before a call goes inline again
_MOST_RUNS_TO_RETURN = 100_000
_SLOW_OUTWEIGHS = 10  # fast ones
_SMALL_BYTES = 16 * 1024
_CLASSES_UP = 3  # to eight times the size


class State(enum.Enum):
    """Where calls with inputs of one class run, and what is known of them."""

    JUDGING = enum.auto()
    INLINE = enum.auto()
    SUSPECT = enum.auto()
    BANISHED = enum.auto()


_IS_INLINE = {
    State.JUDGING: False,
    State.INLINE: True,
    State.SUSPECT: True,
    State.BANISHED: False,
}


class Placement:
    """Where one call runs. Used on the event loop only."""

    def __init__(self) -> None:
        self._classes: dict[int, SizeClass] = {}

    def of(self, input_bytes: int) -> SizeClass:
        """Return what is known of runs with inputs of this size, to be asked and told."""
        return self._classes.get(input_bytes.bit_length()) or self._new_class(input_bytes)

    def is_inline(self, input_bytes: int) -> bool:
        """Return whether a run with inputs of this size is to go inline."""
        return self.of(input_bytes).is_inline

    def measured(self, input_bytes: int, run_s: float) -> None:
        """Learn how long a run takes at best."""
        self.of(input_bytes).judged(run_s)

    def ran_inline(self, input_bytes: int, run_s: float) -> None:
        """Learn how long a run on the event loop took."""
        self.of(input_bytes).ran_inline(run_s)

    def ran_in_thread(self, input_bytes: int, run_s: float) -> None:
        """Learn how long a run in a thread took."""
        self.of(input_bytes).ran_in_thread(run_s)

    def _new_class(self, input_bytes: int) -> SizeClass:
        """Return a new class: inline, until it is seen, if what is known of others says so."""
        number = input_bytes.bit_length()
        known = [other for other, size in self._classes.items() if size.has_run]
        # Of larger inputs the next class, as smaller ones hardly take longer; else the largest.
        larger = (other for other in known if other > number)
        nearest = min(larger, default=max(known, default=None))
        is_near = nearest is not None and (
            number <= nearest + _CLASSES_UP or input_bytes <= _SMALL_BYTES
        )
        is_inline = nearest is not None and is_near and _IS_INLINE[self._classes[nearest].state]
        state = State.INLINE if is_inline else State.JUDGING
        return self._classes.setdefault(number, SizeClass(state))


@dataclass(slots=True)
class SizeClass:
    """Calls with inputs of one class. `count` is of what the table above says for `state`."""

    state: State
    has_run: bool = False  # else others are what `state` goes by, and nobody goes by it
    count: int = 0
    best_s: float = float("inf")  # while judging
    runs_to_return: int = 0  # from the last banishment; the next one takes twice as many

    @property
    def is_inline(self) -> bool:
        """Whether a run is to go inline."""
        return _IS_INLINE[self.state]

    def judged(self, best_s: float) -> None:
        """Decide by the best of a few runs."""
        self.has_run = True
        self._enter(State.INLINE if best_s <= INLINE_S else State.JUDGING)

    def ran_inline(self, run_s: float) -> None:
        """Count a run, and change the state if it was slow or is the last one under suspicion."""
        self.has_run = True
        is_slow = run_s > SLOW_S
        if self.state is State.INLINE:
            if is_slow:
                self._enter(State.SUSPECT)
        elif self.state is State.SUSPECT:
            self.count += 1
            if is_slow and self.count < _SLOW_WITHIN:
                self._banish()
            elif is_slow:
                self._enter(State.SUSPECT)
            elif self.count >= _SLOW_WITHIN:
                self._enter(State.INLINE)

    def ran_in_thread(self, run_s: float) -> None:
        """Count a run, and go inline if there were enough that say so."""
        if self.state is State.JUDGING:
            self.best_s = min(self.best_s, run_s)
            self.count += 1
            if self.count == _RUNS_TO_JUDGE:
                self.judged(self.best_s)
        elif self.state is State.BANISHED:
            # Runs of a few milliseconds among fast ones put the return off for good.
            self.count = max(0, self.count + (1 if run_s <= SLOW_S else -_SLOW_OUTWEIGHS))
            if self.count >= self.runs_to_return:
                self._enter(State.INLINE)

    def _banish(self) -> None:
        self.runs_to_return = min(
            max(2 * self.runs_to_return, _RUNS_TO_RETURN), _MOST_RUNS_TO_RETURN
        )
        self._enter(State.BANISHED)

    def _enter(self, state: State) -> None:
        self.state, self.count, self.best_s = state, 0, float("inf")
