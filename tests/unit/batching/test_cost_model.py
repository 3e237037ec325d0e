from __future__ import annotations

import pytest

from sigrun.batching.cost_model import CostModel


def learned(*runs: tuple[int, float]) -> CostModel:
    times = CostModel()
    for rows, duration_s in runs:
        times.observe(rows, duration_s)
    return times


def test_rows_run_together_while_nothing_is_known() -> None:
    assert CostModel().worthwhile_shares(64) == 1


def test_rows_that_take_long_are_shared() -> None:
    times = learned(*[(rows, 0.001 * rows) for rows in (1, 2, 4, 8)])

    assert times.worthwhile_shares(20) >= 4


def test_a_row_by_itself_is_one_share_at_least() -> None:
    assert learned((1, 1e-6), (2, 1e-6)).worthwhile_shares(1) == 1


def test_rows_that_take_microseconds_run_together() -> None:
    times = learned(*[(rows, 5e-6 + 2e-6 * rows) for rows in (1, 8, 64)])

    assert times.worthwhile_shares(64) == 1


def test_rows_run_together_where_a_run_costs_more_than_they_do() -> None:
    times = learned(*[(rows, 0.005 + 1e-5 * rows) for rows in (1, 8, 32, 64)])

    assert times.worthwhile_shares(64) == 1


def test_rows_run_together_where_larger_runs_take_no_longer() -> None:
    times = learned((1, 0.010), (8, 0.009), (16, 0.008))

    assert times.worthwhile_shares(32) == 1


def test_after_long_runs_of_one_size_smaller_ones_are_tried() -> None:
    times = learned(*[(8, 0.008)] * 20)

    assert times.worthwhile_shares(8) > 1


def test_after_runs_of_one_size_a_larger_one_is_tried() -> None:
    times = learned(*[(1, 0.008)] * 20)

    assert times.worthwhile_shares(8) == 1


def test_what_was_long_ago_is_forgotten() -> None:
    slow = [(rows, 0.001 * rows) for rows in (1, 8)] * 20
    fast = [(rows, 0.000001 * rows) for rows in (1, 8)] * 400

    assert learned(*slow).worthwhile_shares(8) > 1
    assert learned(*slow, *fast).worthwhile_shares(8) == 1


@pytest.mark.parametrize("rows", [2, 8, 100])
def test_more_rows_are_worth_more_shares(rows: int) -> None:
    times = learned(*[(size, 0.002 * size) for size in (1, 4, 16)])

    assert times.worthwhile_shares(2 * rows) >= times.worthwhile_shares(rows)


def test_runs_are_short_when_a_few_were() -> None:
    assert learned(*[(3, 10e-6)] * 4).short_rows() == 0
    assert learned(*[(3, 10e-6)] * 5).short_rows() >= 3
    assert learned(*[(3, 100e-6)] * 5).short_rows() == 0


def test_a_run_of_more_rows_is_taken_to_last_longer() -> None:
    assert 8 <= learned(*[(4, 10e-6)] * 5).short_rows() <= 16


def test_a_short_run_is_known_by_the_line_where_the_mean_of_runs_is_long() -> None:
    # Each row takes 5 us beside 10 us: 30 rows together take long, a few alone do not.
    times = learned(*[(30, 160e-6), (10, 60e-6)] * 20)

    assert 1 <= times.short_rows() <= 6


def test_no_run_is_short_where_the_fixed_time_is_long() -> None:
    assert learned(*[(30, 160e-6), (10, 140e-6)] * 20).short_rows() == 0


def test_a_run_of_less_tells_something_where_those_of_more_are_brief() -> None:
    brief, long = learned(*[(20, 100e-6)] * 10), learned(*[(20, 10e-3)] * 10)

    assert brief.tells_by_less(1)
    assert not brief.tells_by_less(20)
    assert not long.tells_by_less(1)
    assert not learned().tells_by_less(1)


def test_one_slow_run_does_not_hide_that_runs_are_short() -> None:
    times = learned(*[(1, 10e-6)] * 20, (1, 0.010))

    assert times.short_rows() >= 1


def test_short_runs_are_seen_soon_after_a_cold_start() -> None:
    times = learned((1, 5.0), (1, 0.010), *[(1, 10e-6)] * 25)

    assert times.short_rows() >= 1


def test_runs_that_have_become_long_are_seen() -> None:
    times = learned(*[(1, 10e-6)] * 20, *[(1, 0.001)] * 40)

    assert times.short_rows() == 0


def test_what_waits_takes_a_run_for_each_batch_and_a_time_for_each_row() -> None:
    times = learned(*[(rows, 0.010 + 0.001 * rows) for rows in (1, 5, 10, 20)] * 10)

    assert times.least_s(100, batch_rows=50) == pytest.approx(2 * 0.010 + 100 * 0.001)
    assert times.least_s(100, batch_rows=1) == pytest.approx(100 * 0.011)


def test_nothing_is_expected_of_runs_that_are_hardly_known() -> None:
    assert learned(*[(1, 1.0)] * 4).least_s(10, batch_rows=1) == 0.0
    assert learned(*[(1, 1.0)] * 5).least_s(10, batch_rows=1) == pytest.approx(10.0)


def test_while_runs_are_of_one_size_rows_are_taken_to_cost_nothing() -> None:
    assert learned(*[(4, 1.0)] * 5).least_s(100, batch_rows=100) == pytest.approx(1.0)


def test_one_slow_run_is_not_expected_again_once_a_quick_one_has_followed() -> None:
    times = learned((1, 100.0), *[(1, 0.001)] * 5)

    assert times.least_s(10, batch_rows=1) == pytest.approx(0.010)


def test_the_mean_is_that_of_recent_runs() -> None:
    assert CostModel().mean_s is None
    assert learned((1, 0.5)).mean_s == 0.5
    assert learned(*[(1, 0.5)] * 9, *[(1, 0.1)] * 500).mean_s == pytest.approx(0.1, rel=0.01)
