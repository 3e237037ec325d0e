from __future__ import annotations

from sigrun.batching.bypass import Bypass


def goes_past(bypass: Bypass, rows: int) -> bool:
    """Send a request of `rows` rows, and tell whether it went past."""
    if not bypass.lets_past(rows):
        return False
    bypass.went_past()
    return True


def test_nothing_goes_past_until_runs_are_known_to_be_short() -> None:
    assert not Bypass().lets_past(1)


def test_one_request_in_sixteen_does_not_go_past() -> None:
    bypass = Bypass()
    bypass.renew(4)

    assert [goes_past(bypass, 1) for _ in range(16)] == [True] * 15 + [False]


def test_more_rows_than_are_short_do_not_go_past() -> None:
    bypass = Bypass()
    bypass.renew(4)

    assert (bypass.lets_past(5), bypass.lets_past(4)) == (False, True)


def test_nothing_goes_past_any_more_once_runs_are_long() -> None:
    bypass = Bypass()
    bypass.renew(4)
    bypass.renew(0)

    assert not bypass.lets_past(1)


def test_what_went_past_is_counted_until_the_next_time() -> None:
    bypass = Bypass()
    before = bypass.taken()
    bypass.renew(1)
    for _ in range(3):
        bypass.went_past()

    assert (before, bypass.taken()) == (0, 3)
    bypass.renew(1)
    assert bypass.taken() == 0
