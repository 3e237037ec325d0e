"""A worker that dies at once is not started again in a loop."""

from __future__ import annotations

from sigrun.workers.backoff import LONG_S, Backoff


def test_the_first_short_life_is_no_reason_to_wait() -> None:
    assert Backoff().after(1.0) == 0.0


def test_pauses_double_up_to_a_bound() -> None:
    backoff = Backoff()

    pauses = [backoff.after(0.1) for _ in range(10)]

    assert pauses[:4] == [0.0, 0.5, 1.0, 2.0]
    assert pauses[-1] == 30.0


def test_a_long_life_starts_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.1)

    assert backoff.after(LONG_S) == 0.0
    assert backoff.after(0.1) == 0.0
