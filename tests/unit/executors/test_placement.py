from __future__ import annotations

import pytest

from sigrun.executors.placement import INLINE_S, SLOW_S, Placement, State

FAST_S = INLINE_S / 2
LONG_S = INLINE_S * 2
SMALL = 100
LARGE = 1_000_000


def measured(run_s: float, input_bytes: int = SMALL) -> Placement:
    placement = Placement()
    placement.measured(input_bytes, run_s)
    return placement


def run_in_threads(placement: Placement, *runs_s: float, input_bytes: int = SMALL) -> None:
    for run_s in runs_s:
        placement.ran_in_thread(input_bytes, run_s)


def suspended() -> Placement:
    placement = measured(FAST_S)
    placement.ran_inline(SMALL, 2 * SLOW_S)
    placement.ran_inline(SMALL, 2 * SLOW_S)
    return placement


def test_a_call_of_which_nothing_is_known_goes_to_a_thread() -> None:
    assert not Placement().is_inline(SMALL)


def test_a_call_goes_inline_when_it_was_measured_to_be_short() -> None:
    assert measured(FAST_S).is_inline(SMALL)
    assert not measured(LONG_S).is_inline(SMALL)


def test_the_best_of_a_few_runs_in_threads_counts() -> None:
    placement = Placement()

    run_in_threads(placement, LONG_S, LONG_S, FAST_S, LONG_S)
    assert not placement.is_inline(SMALL)
    run_in_threads(placement, LONG_S)
    assert placement.is_inline(SMALL)


def test_a_call_that_is_long_stays_in_threads_until_it_gets_shorter() -> None:
    placement = Placement()

    run_in_threads(placement, *[LONG_S] * 50)
    assert not placement.is_inline(SMALL)
    run_in_threads(placement, *[FAST_S] * 5)
    assert placement.is_inline(SMALL)


def test_small_inputs_of_any_size_are_like_each_other() -> None:
    assert measured(FAST_S, input_bytes=4).is_inline(16 * 1024)
    assert measured(FAST_S, input_bytes=16 * 1024).is_inline(4)
    assert measured(FAST_S, input_bytes=16 * 1024).is_inline(0)


def test_much_larger_inputs_go_to_a_thread_until_they_are_measured() -> None:
    placement = measured(FAST_S, input_bytes=LARGE)

    assert placement.is_inline(4 * LARGE)
    assert not placement.is_inline(20 * LARGE)
    run_in_threads(placement, *[FAST_S] * 5, input_bytes=20 * LARGE)
    assert placement.is_inline(20 * LARGE)


def test_sizes_are_judged_apart() -> None:
    placement = measured(FAST_S)
    placement.measured(LARGE, LONG_S)

    assert placement.is_inline(SMALL)
    assert not placement.is_inline(LARGE)
    assert not placement.is_inline(4 * LARGE)


def test_one_slow_inline_run_in_a_hundred_is_forgiven() -> None:
    placement = measured(FAST_S)

    for _ in range(3):
        placement.ran_inline(SMALL, 2 * SLOW_S)
        for _ in range(100):
            placement.ran_inline(SMALL, FAST_S)

    assert placement.is_inline(SMALL)


def test_two_slow_inline_runs_send_a_call_to_threads() -> None:
    placement = measured(FAST_S)

    placement.ran_inline(SMALL, 2 * SLOW_S)
    for _ in range(50):
        placement.ran_inline(SMALL, FAST_S)
    placement.ran_inline(SMALL, 2 * SLOW_S)

    assert not placement.is_inline(SMALL)


def test_a_call_comes_back_after_hundreds_of_fast_runs_in_threads() -> None:
    placement = suspended()

    run_in_threads(placement, *[FAST_S] * 299)
    assert not placement.is_inline(SMALL)
    run_in_threads(placement, FAST_S)
    assert placement.is_inline(SMALL)


def test_slow_runs_in_threads_put_the_return_off() -> None:
    placement = suspended()

    run_in_threads(placement, *([FAST_S] * 9 + [2 * SLOW_S]) * 100)

    assert not placement.is_inline(SMALL)


def test_a_call_that_disappoints_again_stays_away_for_longer() -> None:
    placement = suspended()
    run_in_threads(placement, *[FAST_S] * 300)
    placement.ran_inline(SMALL, 2 * SLOW_S)
    placement.ran_inline(SMALL, 2 * SLOW_S)

    run_in_threads(placement, *[FAST_S] * 599)
    assert not placement.is_inline(SMALL)
    run_in_threads(placement, FAST_S)
    assert placement.is_inline(SMALL)


def test_a_call_is_suspect_after_a_slow_run_until_it_was_fast_for_long() -> None:
    placement = measured(FAST_S)
    assert placement.of(SMALL).state is not State.SUSPECT

    placement.ran_inline(SMALL, 2 * SLOW_S)
    assert placement.of(SMALL).state is State.SUSPECT

    for _ in range(100):
        placement.ran_inline(SMALL, FAST_S)
    assert placement.of(SMALL).state is not State.SUSPECT
    assert placement.is_inline(SMALL)


@pytest.mark.parametrize("fast_runs", [98, 99])
def test_a_second_slow_run_counts_within_a_hundred_of_the_first(fast_runs: int) -> None:
    placement = measured(FAST_S)
    placement.ran_inline(SMALL, 2 * SLOW_S)
    for _ in range(fast_runs):
        placement.ran_inline(SMALL, FAST_S)

    placement.ran_inline(SMALL, 2 * SLOW_S)

    assert placement.is_inline(SMALL) is (fast_runs == 99)
    assert (placement.of(SMALL).state is State.SUSPECT) is (fast_runs == 99)


def test_what_is_on_its_way_to_a_thread_when_a_call_goes_inline_does_not_count() -> None:
    placement = measured(FAST_S)

    run_in_threads(placement, *[LONG_S] * 50)

    assert placement.is_inline(SMALL)
