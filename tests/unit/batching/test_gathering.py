from __future__ import annotations

import pytest

from sigrun.batching.gathering import Gathering


def turns_until_complete(*arrivals: int, turn_s: float = 1e-6) -> int:
    """Return after how many turns the group leaves, into each of which so many arrive."""
    gathering = Gathering()
    gathering.begin(10.0)
    for turn, arrived in enumerate((*arrivals, *[0] * 10), start=1):
        for _ in range(arrived):
            gathering.arrived()
        if gathering.is_complete(10.0 + turn * turn_s):
            return turn
    raise AssertionError("it never leaves")


@pytest.mark.parametrize(
    ("arrivals", "turns"),
    [
        ((64,), 1),
        ((1,), 2),
        ((1, 1), 3),
        ((1, 0, 1), 2),
        ((3, 3, 3), 3),
        ((1,) * 20, 8),
    ],
)
def test_a_small_group_waits_while_every_turn_brings_somebody(
    arrivals: tuple[int, ...], turns: int
) -> None:
    assert turns_until_complete(*arrivals) == turns


def test_a_group_does_not_wait_through_long_turns() -> None:
    assert turns_until_complete(*[1] * 20, turn_s=200e-6) == 2


def test_every_group_starts_anew() -> None:
    gathering = Gathering()
    for _ in range(2):
        gathering.begin(0.0)
        gathering.arrived()

        assert not gathering.is_complete(0.0)
        assert gathering.is_complete(0.0)
