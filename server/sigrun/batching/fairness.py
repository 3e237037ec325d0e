"""Share the runners fairly between models: whose turn it is, and on how many runners.

In: the models that have something to run, in the order in which it is their turn. Out: which of
them goes next, and how many runners it may have. Pure.

Two rules. The next runner goes to the model that has the fewest. And a model whose runs are long,
or of unknown length, leaves the last runner alone while another model that has none may come:
otherwise that one would wait for a whole run of its neighbour, which can take seconds, or never
end. Short runs may take the last runner, because it is free again soon. With one runner there is
nothing to leave.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Pace(enum.Enum):
    """How long the runs of a model take."""

    UNKNOWN = enum.auto()  # none has ended yet
    QUICK = enum.auto()
    SLOW = enum.auto()  # long, or stuck


class Neighbours(enum.Enum):
    """The other models that have no runner now."""

    NONE = enum.auto()
    LOADED = enum.auto()  # there are some, but nobody asked for them lately
    ACTIVE = enum.auto()  # somebody asked for one of them lately


@dataclass(frozen=True, slots=True)
class Claim:
    """A model that has something to run."""

    running: int  # runners that it has already
    pace: Pace
    neighbours: Neighbours


_LEAVES_ONE: dict[tuple[Pace, Neighbours], bool] = {
    (Pace.UNKNOWN, Neighbours.NONE): False,
    (Pace.UNKNOWN, Neighbours.LOADED): True,  # it may be an endless loop
    (Pace.UNKNOWN, Neighbours.ACTIVE): True,
    (Pace.QUICK, Neighbours.NONE): False,
    (Pace.QUICK, Neighbours.LOADED): False,
    (Pace.QUICK, Neighbours.ACTIVE): False,
    (Pace.SLOW, Neighbours.NONE): False,
    (Pace.SLOW, Neighbours.LOADED): False,  # all runners for it: who comes waits for one run, once
    (Pace.SLOW, Neighbours.ACTIVE): True,
}


def runners_for(claim: Claim, idle: int) -> int:
    """Return how many of `idle` runners a claim may have, if no other one is made."""
    left = idle - _LEAVES_ONE[claim.pace, claim.neighbours]
    if not claim.running:
        left = max(1, left)  # its first runner is the one that others leave
    return left


def choose(claims: Sequence[Claim], idle: int) -> tuple[int, int] | None:
    """Return the claim that is next, by index, and how many of `idle` runners it may have.

    `claims` are in the order of their turns, and `idle` is 1 or more. None: what is idle is left
    to models that have not come yet.
    """
    entitled = [index for index, claim in enumerate(claims) if runners_for(claim, idle) > 0]
    if not entitled:
        return None
    chosen = min(entitled, key=lambda index: claims[index].running)  # of equals the first
    others = len(claims) - 1  # each may want one of them
    return chosen, max(1, min(runners_for(claims[chosen], idle), idle - others))
