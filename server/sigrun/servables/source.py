"""The contract of a source: whatever knows which versions of which models should exist.

In: the models to watch. Out: the aspired versions of each, as loaders, told to a target,
and a finding that says why there are none, or not yet. `file_source` watches folders.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sigrun.config.models import ModelSet
from sigrun.errors import SigrunError
from sigrun.servables.folders import Revision
from sigrun.servables.servable import Loader, ServableId
from sigrun.telemetry.metrics import Reading

MakeLoader = Callable[[ServableId, Path, Revision], Loader]
"""Makes the loader of one version; a source has one for each platform."""

GoBack = Callable[[], None]
"""Puts back what was watched before."""


class AspiredVersionsTarget(Protocol):
    """Takes the complete set of versions that a source wants for one model."""

    def set_aspired_versions(self, name: str, loaders: Collection[Loader]) -> None:
        """Make these the versions of `name`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the last look at a model found.

    `problem` says why no version can be served. `settling` and `changed` say, by version,
    what keeps it from being loaded, and what has changed since it was loaded.
    `is_overdue`: something has been missing or settling for long.
    """

    chosen: frozenset[int] = frozenset()
    problem: SigrunError | None = None
    settling: Mapping[int, str] = field(default_factory=dict)
    changed: Mapping[int, str] = field(default_factory=dict)
    is_overdue: bool = False

    @property
    def is_settling(self) -> bool:
        """Whether no version can be loaded yet, and one is on its way."""
        return not self.chosen and bool(self.settling)


class Source(Protocol):
    """Says which versions should exist. Everything is called on one event loop."""

    def watch(self, models: ModelSet) -> GoBack:
        """Watch these models and no others from now on.

        What is found is told to the target. Models that are left out lose their versions at
        once. Calling what is returned watches again what was watched before, and aspires to
        what was found then without a look.
        """

    def finding(self, name: str) -> Finding | None:
        """Return what was found of a model; None: not watched, or not looked at as it is now."""

    def look_again(self, name: str) -> None:
        """Look at a model now, and as if nothing of it had been loaded for long.

        Until that is done there is no finding. Versions whose files have changed are offered anew.
        """

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every look."""

    def readings(self) -> Iterable[Reading]:
        """Yield what there is to count, as metrics."""

    async def close(self) -> None:
        """Watch nothing any more. Does not wait for what does not answer."""
