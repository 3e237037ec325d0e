"""Decide from one look at a base path which versions can be loaded: pure but for reading.

In: the model, what was remembered from earlier looks, and the times. Out: a `Look`: the
versions to load, what keeps the others, and what to remember. Nothing is changed in place,
so that a look can be taken in a thread and dropped when nobody wants it any more.

A version folder may still be written to when it is first seen. It is complete, as far as
looking can tell, when two looks at least `quiet_s` apart find the same, or when nothing in
it is younger than that. A copy can pause for longer, so a version is compared with what
was loaded for some time afterwards, and offered again when it has changed. A change that
comes later is only told: then somebody has overwritten a version, and a new number is the
way to have a new model served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sigrun.config.models import ModelConfig
from sigrun.errors import InvalidArgument, NotFound, SigrunError, Unavailable
from sigrun.servables.folders import LOCAL, Budget, Folders, Listing, Revision

COMPARED_FOR_S = 600.0
"""For so long after a load a version whose files change is loaded again."""

_MAX_OFFERS = 4  # of one version: something may write into its folder for ever
_MAX_COMPARE_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A version folder that has been found the same since `since` (monotonic seconds)."""

    revision: Revision
    since: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A version that was found complete, for loading: what was on disk, and since then.

    `loaded_at` is when it was first seen not to be loading any more; `change` says what has
    changed on disk and is not loaded again.
    """

    path: Path
    revision: Revision
    checked_at: float
    loaded_at: float | None = None
    count: int = 1
    change: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a base path from look to look."""

    offers: Mapping[int, Offer] = field(default_factory=dict)
    sightings: Mapping[int, Sighting] = field(default_factory=dict)

    def as_if_just_loaded(self) -> Memory:
        """Return a memory by which files are compared at once, and changes count, however late."""
        offers = {v: replace(offer, loaded_at=None, count=1) for v, offer in self.offers.items()}
        return replace(self, offers=offers)


@dataclass(frozen=True, slots=True)
class Loads:
    """What came of the versions that were offered before this look."""

    loading: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found. `chosen` is None when it says nothing about the versions."""

    memory: Memory
    chosen: Mapping[int, Offer] | None
    settling: Mapping[int, str] = field(default_factory=dict)
    problem: SigrunError | None = None
    notices: Mapping[str, str] = field(default_factory=dict)  # each logged once for its key


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Looks at the base path of one model; `now` is monotonic, `wall_now` is `time.time`."""

    model: ModelConfig
    loads: Loads
    now: float
    wall_now: float
    quiet_s: float
    folders: Folders = LOCAL

    def look(self, memory: Memory) -> Look:
        """Read the base path and decide. Blocks; raises nothing that a path can cause."""
        model = self.model
        try:
            listing = self.folders.list_versions(model.folder)
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
            missing = InvalidArgument(
                f"Could not find base path {model.base_path} for servable {model.name} "
                f"with error {error}"
            )
            return Look(memory=memory, chosen=None, problem=missing)
        if not listing.versions:
            empty = NotFound(
                f"No versions of servable {model.name} found under base path {model.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
            return Look(memory=Memory(), chosen={}, problem=empty)
        return self._choose(memory, listing)

    def _choose(self, memory: Memory, listing: Listing) -> Look:
        """Apply the version policy to the versions that are complete."""
        judge = _Judge(self, memory)
        present = dict(listing.versions)
        while True:
            chosen = self.model.select(present)
            rejected = {v for v in chosen if not judge.is_complete(v, present[v])}
            if not rejected:
                break
            present = {v: path for v, path in present.items() if v not in rejected}
        # A version that is gone is forgotten: one that comes back is new, and settles again.
        offers = {v: offer for v, offer in memory.offers.items() if v in listing.versions}
        offers |= {v: offer for v, offer in judge.offers.items() if offer is not None}
        # While all that is there is being written, what was served before is kept.
        found = {v: offers[v] for v in sorted(chosen)}
        return Look(
            memory=Memory(offers, judge.sightings),
            chosen=found if found or not judge.settling else None,
            settling=judge.settling,
            problem=None if found else self._no_version(judge.settling),
            notices=self._notices(listing) | _changes(self.model, found),
        )

    def _no_version(self, settling: Mapping[int, str]) -> SigrunError:
        model = self.model
        if settling:
            highest = settling[max(settling)]
            return Unavailable(f"No version of {model.name} can be loaded yet: {highest}")
        return NotFound(
            f"None of the versions in {model.base_path} is one that {model.name} asks for"
        )

    def _notices(self, listing: Listing) -> dict[str, str]:
        notices = {
            f"{taken} hides {ignored}": f"{taken} and {ignored} are the same version of servable "
            f"{self.model.name}: {taken.name} is served"
            for taken, ignored in listing.doubles
        }
        if listing.is_saved_model:
            notices["is a SavedModel"] = (
                f"{self.model.base_path} is a SavedModel itself, and is served as version 1 of "
                f"servable {self.model.name}; to replace it without a gap, move it to a folder "
                "named by a number"
            )
        return notices


class _Judge:
    """Says of each version whether it is complete, and collects what to remember.

    Each version is asked for once a look: the answer depends on the look before it.
    """

    def __init__(self, looker: Looker, memory: Memory) -> None:
        self._looker = looker
        self._memory = memory
        self._budget = Budget()
        self.offers: dict[int, Offer | None] = {}
        self.sightings: dict[int, Sighting] = {}
        self.settling: dict[int, str] = {}

    def is_complete(self, version: int, path: Path) -> bool:
        if version not in self.offers:
            self.offers[version] = self._offer(version, path, self._memory.offers.get(version))
        return self.offers[version] is not None

    def _offer(self, version: int, path: Path, known: Offer | None) -> Offer | None:
        now = self._looker.now
        if known is not None:
            known = self._with_load_time(version, known)
            if not self._is_compare_due(version, path, known):
                return known
            known = replace(known, checked_at=now)
        try:
            revision = self._looker.folders.read_revision(path, self._budget)
        except OSError as error:  # it is being written, or taken away, or far too large
            self.settling[version] = f"version {version} in {path} cannot be read: {error}"
            return known
        if known is None:
            return self._first_offer(version, path, revision)
        if revision.is_like(known.revision):
            return replace(known, change="")
        has_failed = version in self._looker.loads.failed
        offer_again = self._offer_after_failure if has_failed else self._offer_after_change
        return offer_again(version, path, revision, known)

    def _with_load_time(self, version: int, known: Offer) -> Offer:
        if known.loaded_at is not None or version in self._looker.loads.loading:
            return known
        return replace(known, loaded_at=self._looker.now)

    def _is_compare_due(self, version: int, path: Path, known: Offer) -> bool:
        """Return whether to read the folder: often at first, ever more rarely later."""
        if known.path != path or known.loaded_at is None:
            return True
        if version in self._looker.loads.failed or version in self._memory.sightings:
            return True
        now = self._looker.now
        wait_s = min((now - known.loaded_at) / 10, _MAX_COMPARE_WAIT_S)
        return now - known.checked_at >= wait_s

    def _first_offer(self, version: int, path: Path, revision: Revision) -> Offer | None:
        if self._is_settled(version, revision):
            return Offer(path, revision, checked_at=self._looker.now)
        self.settling[version] = (
            f"version {version} in {path} is being written, last {revision.newest()}"
        )
        return None

    def _offer_after_failure(
        self, version: int, path: Path, revision: Revision, known: Offer
    ) -> Offer:
        if self._is_settled(version, revision):
            return Offer(path, revision, checked_at=self._looker.now)
        self.settling[version] = (
            f"version {version} in {path} is being written again, last {revision.newest()}"
        )
        return known

    def _offer_after_change(
        self, version: int, path: Path, revision: Revision, known: Offer
    ) -> Offer:
        now = self._looker.now
        is_recent = known.loaded_at is None or now - known.loaded_at < COMPARED_FOR_S
        # Another folder that has become this version counts whenever it comes.
        if known.path == path and not (is_recent and known.count < _MAX_OFFERS):
            return replace(known, change=revision.difference(known.revision))
        if not self._is_settled(version, revision):
            return known
        return replace(known, path=path, revision=revision, count=known.count + 1, change="")

    def _is_settled(self, version: int, revision: Revision) -> bool:
        """Return whether the files are complete, as far as looking can tell."""
        looker = self._looker
        sighting = self._memory.sightings.get(version)
        if sighting is None or sighting.revision != revision:
            sighting = Sighting(revision, looker.now)
        self.sightings[version] = sighting
        return (
            looker.now - sighting.since >= looker.quiet_s
            or revision.changed_at < looker.wall_now - looker.quiet_s
        )


def _changes(model: ModelConfig, offers: Mapping[int, Offer]) -> dict[str, str]:
    return {
        f"{offer.path} has changed": f"version {v} of servable {model.name} has been overwritten "
        f"since it was loaded ({offer.change} in {offer.path} has changed), and is served as it "
        "was; give what is new a higher number"
        for v, offer in offers.items()
        if offer.change
    }
