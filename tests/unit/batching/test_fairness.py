from __future__ import annotations

import pytest

from sigrun.batching.fairness import Claim, Neighbours, Pace, choose, runners_for

UNKNOWN, QUICK, SLOW = Pace.UNKNOWN, Pace.QUICK, Pace.SLOW
NONE, LOADED, ACTIVE = Neighbours.NONE, Neighbours.LOADED, Neighbours.ACTIVE


def quick(running: int) -> Claim:
    return Claim(running, QUICK, ACTIVE)


def slow(running: int) -> Claim:
    return Claim(running, SLOW, ACTIVE)


@pytest.mark.parametrize(
    ("pace", "neighbours", "idle", "expected"),
    [
        (QUICK, ACTIVE, 1, 1),
        (QUICK, ACTIVE, 4, 4),
        (SLOW, NONE, 4, 4),
        (SLOW, LOADED, 4, 4),
        (SLOW, ACTIVE, 4, 3),
        (SLOW, ACTIVE, 1, 0),
        (UNKNOWN, NONE, 4, 4),
        (UNKNOWN, LOADED, 4, 3),
        (UNKNOWN, ACTIVE, 1, 0),
    ],
)
def test_what_may_take_long_leaves_a_runner_to_those_who_may_come(
    pace: Pace, neighbours: Neighbours, idle: int, expected: int
) -> None:
    assert runners_for(Claim(1, pace, neighbours), idle) == expected


@pytest.mark.parametrize("pace", Pace)
@pytest.mark.parametrize("neighbours", Neighbours)
@pytest.mark.parametrize("idle", [1, 2])
def test_a_model_without_a_runner_may_have_one(
    pace: Pace, neighbours: Neighbours, idle: int
) -> None:
    assert runners_for(Claim(0, pace, neighbours), idle) >= 1


@pytest.mark.parametrize(
    ("claims", "idle", "expected"),
    [
        ([quick(0)], 3, (0, 3)),
        ([quick(2), quick(1)], 3, (1, 2)),
        ([quick(1), quick(1)], 1, (0, 1)),
        ([quick(2), quick(0)], 1, (1, 1)),
        ([slow(1)], 1, None),
        ([slow(1)], 2, (0, 1)),
        ([slow(1), quick(2)], 1, (1, 1)),
        ([slow(1), slow(0)], 1, (1, 1)),
        ([slow(0), quick(0)], 4, (0, 3)),
        ([quick(0), quick(0), quick(0)], 2, (0, 1)),
    ],
)
def test_the_next_runner_goes_where_there_are_the_fewest(
    claims: list[Claim], idle: int, expected: tuple[int, int] | None
) -> None:
    assert choose(claims, idle) == expected
