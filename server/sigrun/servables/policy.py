"""In which order a model moves to its aspired versions: pure functions of a snapshot.

In: every version of one model, with its phase and whether it is aspired. Out: the next
thing to do, or None. The manager asks again after each step and each change.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Phase(enum.Enum):
    """Where a version stands inside the manager."""

    NEW = enum.auto()
    LOADING = enum.auto()
    READY = enum.auto()
    REPLACING = enum.auto()  # ready, while its successor of the same number loads
    UNLOADING = enum.auto()
    FAILED = enum.auto()


CAN_ANSWER = frozenset({Phase.READY, Phase.REPLACING})


@dataclass(frozen=True, slots=True)
class VersionSnapshot:
    """One version as the policy sees it."""

    version: int
    phase: Phase
    is_aspired: bool
    is_outdated: bool = False  # what is on disk now differs from what was loaded


@dataclass(frozen=True, slots=True)
class Load:
    """Start to load this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Unload:
    """Quiesce and unload this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Load this version from what is on disk now, and let that take its place."""

    version: int


Action = Load | Unload | Replace


class AspiredVersionPolicy(Protocol):
    """Decides the next step of one model."""

    def next_action(
        self, versions: Sequence[VersionSnapshot], *, may_unload: bool = True
    ) -> Action | None:
        """Return what to do next, or None to wait.

        `may_unload` is False while a reload is under way, which keeps the old versions
        until the new configuration is known to work.
        """


class AvailabilityPreservingPolicy:
    """Load first: an old version leaves when another one can take its traffic."""

    def next_action(
        self, versions: Sequence[VersionSnapshot], *, may_unload: bool = True
    ) -> Action | None:
        """Return the next step; see `AspiredVersionPolicy`."""
        aspired = [v for v in versions if v.is_aspired]
        leaving = [v.version for v in versions if not v.is_aspired and v.phase is Phase.READY]
        replaced = not aspired or any(v.phase in CAN_ANSWER for v in aspired)
        if may_unload and leaving and (replaced or len(leaving) > 1):
            return Unload(min(leaving))
        outdated = [v.version for v in aspired if v.phase is Phase.READY and v.is_outdated]
        if may_unload and outdated:
            return Replace(max(outdated))
        return _load_highest(aspired)


class ResourcePreservingPolicy:
    """Unload first: never more in memory than is aspired, at the price of a gap.

    It does not wait for a reload to be known good, since both sets may not fit together.
    """

    def next_action(
        self, versions: Sequence[VersionSnapshot], *, may_unload: bool = True
    ) -> Action | None:
        """Return the next step; see `AspiredVersionPolicy`."""
        leaving = [v for v in versions if not v.is_aspired]
        ready = [
            v.version
            for v in versions
            if v.phase is Phase.READY and (v.is_outdated or not v.is_aspired)
        ]
        if ready:
            return Unload(min(ready))
        # One that unloads may be aspired again, and takes its memory all the same.
        is_going = any(v.phase is Phase.UNLOADING for v in versions)
        if is_going or any(v.phase is Phase.LOADING for v in leaving):
            return None
        return _load_highest([v for v in versions if v.is_aspired])


def _load_highest(aspired: Sequence[VersionSnapshot]) -> Load | None:
    new = [v.version for v in aspired if v.phase is Phase.NEW]
    return Load(max(new)) if new else None
