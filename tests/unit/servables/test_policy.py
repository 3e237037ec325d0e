"""Every rule of both aspired-version policies, as a table of snapshots and next steps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sigrun.servables.policy import (
    Action,
    AvailabilityPreservingPolicy,
    Load,
    Phase,
    Replace,
    ResourcePreservingPolicy,
    Unload,
    VersionSnapshot,
)

NEW, LOADING, READY = Phase.NEW, Phase.LOADING, Phase.READY
REPLACING, UNLOADING, FAILED = Phase.REPLACING, Phase.UNLOADING, Phase.FAILED


@dataclass(frozen=True)
class Rule:
    name: str
    versions: tuple[VersionSnapshot, ...]
    step: Action | None
    may_unload: bool = True


def aspired(version: int, phase: Phase) -> VersionSnapshot:
    return VersionSnapshot(version, phase, is_aspired=True)


def leaving(version: int, phase: Phase) -> VersionSnapshot:
    return VersionSnapshot(version, phase, is_aspired=False)


def outdated(version: int, phase: Phase) -> VersionSnapshot:
    return VersionSnapshot(version, phase, is_aspired=True, is_outdated=True)


AVAILABILITY_PRESERVING = [
    Rule("nothing known, nothing to do", (), None),
    Rule("the first version is loaded", (aspired(1, NEW),), Load(1)),
    Rule("the highest new version is loaded first", (aspired(1, NEW), aspired(2, NEW)), Load(2)),
    Rule("loads go on side by side", (aspired(1, NEW), aspired(2, LOADING)), Load(1)),
    Rule("all aspired are ready", (aspired(1, READY), aspired(2, READY)), None),
    Rule("a failed version is left alone", (aspired(1, FAILED),), None),
    Rule(
        "a new version is loaded next to the old one",
        (leaving(1, READY), aspired(2, NEW)),
        Load(2),
    ),
    Rule("the old one stays while it loads", (leaving(1, READY), aspired(2, LOADING)), None),
    Rule("the old one stays when it fails", (leaving(1, READY), aspired(2, FAILED)), None),
    Rule("the old one leaves when it is ready", (leaving(1, READY), aspired(2, READY)), Unload(1)),
    Rule(
        "an older version that comes back is loaded before the newer one leaves",
        (aspired(1, NEW), leaving(2, READY)),
        Load(1),
    ),
    Rule(
        "an unload is preferred to a load",
        (leaving(1, READY), aspired(2, READY), aspired(3, NEW)),
        Unload(1),
    ),
    Rule(
        "of several that may leave, the lowest goes first",
        (leaving(2, READY), leaving(1, READY), aspired(3, READY)),
        Unload(1),
    ),
    Rule(
        "of two that are not aspired one leaves, though nothing aspired is ready",
        (leaving(1, READY), leaving(2, READY), aspired(3, NEW)),
        Unload(1),
    ),
    Rule(
        "the last of them stays",
        (leaving(1, UNLOADING), leaving(2, READY), aspired(3, LOADING)),
        None,
    ),
    Rule("all leave when nothing is aspired", (leaving(1, READY),), Unload(1)),
    Rule("a load that is no longer wanted is not interrupted", (leaving(1, LOADING),), None),
    Rule("an unload is not repeated", (leaving(1, UNLOADING),), None),
    Rule(
        "one that is aspired again while it unloads takes no traffic yet",
        (aspired(1, UNLOADING), leaving(2, READY)),
        None,
    ),
    Rule("an outdated version is replaced", (outdated(1, READY),), Replace(1)),
    Rule("a replacement is not repeated", (outdated(1, REPLACING),), None),
    Rule("what still loads is not replaced yet", (outdated(1, LOADING),), None),
    Rule(
        "one that is being replaced can take the traffic of another",
        (leaving(1, READY), aspired(2, REPLACING)),
        Unload(1),
    ),
    Rule("one that is being replaced is not unloaded yet", (leaving(1, REPLACING),), None),
    Rule(
        "during a reload nothing is replaced",
        (outdated(1, READY),),
        None,
        may_unload=False,
    ),
    Rule(
        "during a reload nothing leaves",
        (leaving(1, READY), aspired(2, READY)),
        None,
        may_unload=False,
    ),
    Rule(
        "during a reload loads go on",
        (leaving(1, READY), aspired(2, READY), aspired(3, NEW)),
        Load(3),
        may_unload=False,
    ),
    Rule(
        "during a reload a removed model stays",
        (leaving(1, READY), leaving(2, READY)),
        None,
        may_unload=False,
    ),
]

RESOURCE_PRESERVING = [
    Rule("nothing known, nothing to do", (), None),
    Rule("the highest new version is loaded first", (aspired(1, NEW), aspired(2, NEW)), Load(2)),
    Rule("loads go on side by side", (aspired(1, NEW), aspired(2, LOADING)), Load(1)),
    Rule("a failed version is left alone", (aspired(1, FAILED),), None),
    Rule(
        "the old version leaves before the new one is loaded",
        (leaving(1, READY), aspired(2, NEW)),
        Unload(1),
    ),
    Rule(
        "of several that leave, the lowest goes first",
        (leaving(2, READY), leaving(1, READY), aspired(3, NEW)),
        Unload(1),
    ),
    Rule(
        "nothing is loaded while an old version unloads",
        (leaving(1, UNLOADING), aspired(2, NEW)),
        None,
    ),
    Rule(
        "nothing is loaded while an old version still loads",
        (leaving(1, LOADING), aspired(2, NEW)),
        None,
    ),
    Rule(
        "nothing is loaded while one that is aspired again still unloads",
        (aspired(1, UNLOADING), aspired(2, NEW)),
        None,
    ),
    Rule(
        "an old version that failed is in nobody's way",
        (leaving(1, FAILED), aspired(2, NEW)),
        Load(2),
    ),
    Rule("all leave when nothing is aspired", (leaving(1, READY),), Unload(1)),
    Rule(
        "an outdated version leaves before it is loaded again",
        (outdated(1, READY), aspired(2, READY)),
        Unload(1),
    ),
    Rule(
        "a reload does not hold unloads up",
        (leaving(1, READY), aspired(2, NEW)),
        Unload(1),
        may_unload=False,
    ),
]


@pytest.mark.parametrize("rule", AVAILABILITY_PRESERVING, ids=lambda rule: rule.name)
def test_availability_preserving(rule: Rule) -> None:
    step = AvailabilityPreservingPolicy().next_action(rule.versions, may_unload=rule.may_unload)

    assert step == rule.step


@pytest.mark.parametrize("rule", RESOURCE_PRESERVING, ids=lambda rule: rule.name)
def test_resource_preserving(rule: Rule) -> None:
    step = ResourcePreservingPolicy().next_action(rule.versions, may_unload=rule.may_unload)

    assert step == rule.step
