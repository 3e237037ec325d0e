"""Watch base paths and say which versions should be loaded.

In: the models to watch, and what their base paths hold at each look. Out: the aspired
versions of each model, as loaders, told to a target.

A version directory may still be written to when it is first seen. It counts only once it
has settled: when nothing in it is younger than `_QUIET_S`, or when two looks in a row find
the same. One that failed to load is offered again when its files have changed. Models are
looked at one by one: a broken path leaves the others, and its own versions, as they are.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from sigrun.config.models import ModelConfig, ModelSet, SpecificVersions
from sigrun.errors import InvalidArgument, NotFound, SigrunError, Unavailable
from sigrun.servables.servable import Loader, ServableId

logger = logging.getLogger(__name__)

_VERSION_NAME = re.compile(r"[0-9]+")
_MAX_VERSION = 2**63 - 1
_QUIET_S = 2.0
_UNSETTLED_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Revision:
    """What a version directory held at one look; `changed_at` is in `time.time` seconds."""

    files: frozenset[tuple[str, int, int]]
    changed_at: float

    @classmethod
    def of(cls, path: Path) -> Revision:
        """Read sizes and times of everything below `path`. Raises OSError."""
        files = frozenset(
            (name, stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns))
            for name, stat in _walk(path)
        )
        newest = max((changed_ns for _, _, changed_ns in files), default=0)
        return cls(files, newest / 1e9)

    def has_settled(self, *, before: Revision | None, now: float) -> bool:
        """Return whether the files are complete, as far as looking can tell."""
        return self == before or self.changed_at < now - _QUIET_S


def _walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file below `path`; a file or an empty folder yields itself."""
    found = False
    for folder, _, names in os.walk(path):
        for name in names:
            found = True
            file = os.path.join(folder, name)
            yield file, os.stat(file)
    if not found:
        yield str(path), path.stat()


def find_versions(base_path: Path) -> dict[int, Path]:
    """Return the children of `base_path` whose whole name is a number that fits int64.

    Of two with the same number (`1`, `001`) the first in alphabetical order is taken, and
    logged. Files count too; loading says what is wrong with them. Raises OSError.
    """
    versions: dict[int, Path] = {}
    for name in sorted(os.listdir(base_path)):
        if not _VERSION_NAME.fullmatch(name) or int(name) > _MAX_VERSION:
            continue
        if int(name) in versions:
            logger.warning("%s and %s are the same version", versions[int(name)], base_path / name)
            continue
        versions[int(name)] = base_path / name
    return versions


class AspiredVersionsTarget(Protocol):
    """Takes the complete set of versions that a source wants for one model."""

    def set_aspired_versions(self, name: str, loaders: Collection[Loader]) -> None:
        """Make these the versions of `name`."""


MakeLoader = Callable[[ServableId, Path, Revision], Loader]
HasFailed = Callable[[ServableId], bool]


@dataclass(slots=True)
class _Watched:
    """One model under watch: its versions that have settled, and why it has none."""

    model: ModelConfig
    chosen: Mapping[int, tuple[Path, Revision]] | None = None
    settled: dict[int, Revision] = field(default_factory=dict)
    last_seen: dict[int, Revision] = field(default_factory=dict)
    is_settling: bool = False
    problem: SigrunError | None = None
    missing: frozenset[int] = frozenset()
    reading: asyncio.Task[Mapping[int, Path] | SigrunError] | None = None


Watch = Mapping[str, _Watched]
"""What a source watches, and what it knows of it."""


class FileSystemSource:
    """Looks at the base paths of a `ModelSet` every `poll_wait_s` seconds.

    `watch` says which models, `look` looks once and tells the target, `run` looks for
    ever. Reading the file system happens in a thread, the target is called on the loop.
    """

    def __init__(
        self,
        *,
        make_loader: MakeLoader,
        target: AspiredVersionsTarget,
        has_failed: HasFailed,
        poll_wait_s: float,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        answer_within_s: float = 10.0,
    ) -> None:
        self._answer_within_s = answer_within_s
        self._make_loader = make_loader
        self._target = target
        self._has_failed = has_failed
        self._poll_wait_s = poll_wait_s
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._watched: Watch = {}
        self._looking = asyncio.Lock()

    def watch(self, models: ModelSet) -> Watch:
        """Watch these models and no others from the next look on.

        Returns what was watched until now, for `watch_again`.
        """
        before = self._watched
        self._switch({model.name: self._watched_as(model) for model in models})
        return before

    def watch_again(self, before: Watch) -> None:
        """Go back to an earlier watch, and aspire to what was found then, without a look."""
        self._switch(before)
        for watched in before.values():
            self._aspire(watched)

    def problem(self, name: str) -> SigrunError | None:
        """Return why the last look found no version of a model, None if it found one."""
        watched = self._watched.get(name)
        return watched.problem if watched else None

    def is_settling(self, name: str) -> bool:
        """Return whether the last look found versions of a model that are being written."""
        watched = self._watched.get(name)
        return watched is not None and watched.is_settling

    async def run(self) -> None:
        """Look at all models again and again, until cancelled."""
        while True:
            await self._sleep(self._pause_s())
            try:
                await self.look()
            except Exception:
                logger.exception("looking for versions failed; the next look may do better")

    async def look(self) -> None:
        """Look at every model once and tell the target what should be there.

        A base path that does not answer within `answer_within_s` is left to a later look,
        so that one lost file system holds nobody up.
        """
        async with self._looking:
            await asyncio.gather(*map(self._look_at, list(self._watched.values())))

    async def _look_at(self, watched: _Watched) -> None:
        if watched.reading is None:
            finding = asyncio.to_thread(self._find, watched, watched.model)
            watched.reading = asyncio.create_task(finding, name=f"look at {watched.model.name}")
        await asyncio.wait([watched.reading], timeout=self._answer_within_s)
        if not watched.reading.done():
            _note_problem(watched, _no_answer(watched.model))
            return
        reading, watched.reading = watched.reading, None
        found = reading.result()
        if self._watched.get(watched.model.name) is watched:
            self._tell(watched, found)

    def _watched_as(self, model: ModelConfig) -> _Watched:
        known = self._watched.get(model.name)
        if known is None or known.model.base_path != model.base_path:
            return _Watched(model)
        return known if known.model == model else replace(known, model=model)

    def _switch(self, watch: Watch) -> None:
        dropped = self._watched.keys() - watch.keys()
        self._watched = watch
        for name in dropped:
            self._target.set_aspired_versions(name, ())

    def _pause_s(self) -> float:
        if any(watched.is_settling for watched in self._watched.values()):
            return min(self._poll_wait_s, _UNSETTLED_POLL_S)
        return self._poll_wait_s

    def _find(self, watched: _Watched, model: ModelConfig) -> Mapping[int, Path] | SigrunError:
        """Return the versions to load, or why there are none to choose from."""
        watched.is_settling = False
        try:
            present = find_versions(Path(model.base_path))
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
            return InvalidArgument(
                f"Could not find base path {model.base_path} for servable {model.name} "
                f"with error {error}"
            )
        _forget_all_but(present, watched)
        if not present:
            return NotFound(
                f"No versions of servable {model.name} found under base path {model.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
        return self._choose(watched, model, present)

    def _choose(
        self, watched: _Watched, model: ModelConfig, present: dict[int, Path]
    ) -> Mapping[int, Path]:
        """Apply the version policy to the versions that have settled."""
        settled: dict[int, bool] = {}  # asked once a look: the answer depends on the last one
        while True:
            chosen = model.version_policy.select(present)
            for v in chosen - settled.keys():
                settled[v] = self._has_settled(watched, v, present[v])
            rejected = {v for v in chosen if not settled[v]}
            if not rejected:
                return {v: present[v] for v in sorted(chosen)}
            present = {v: path for v, path in present.items() if v not in rejected}

    def _has_settled(self, watched: _Watched, version: int, path: Path) -> bool:
        known = version in watched.settled
        if known and not self._has_failed(ServableId(watched.model.name, version)):
            return True
        try:
            seen = Revision.of(path)
        except OSError:  # it is being written, or taken away
            watched.is_settling = True
            return known
        before = watched.last_seen.get(version)
        watched.last_seen[version] = seen
        if seen.has_settled(before=before, now=self._wall_clock()):
            watched.settled[version] = seen
            return True
        watched.is_settling = True
        return known

    def _tell(self, watched: _Watched, found: Mapping[int, Path] | SigrunError) -> None:
        _note_problem(watched, _problem_with(watched, found))
        if isinstance(found, InvalidArgument):
            return  # an unreadable base path says nothing about the versions: keep them
        chosen = {} if isinstance(found, SigrunError) else found
        _note_missing(watched, chosen)
        watched.chosen = {v: (path, watched.settled[v]) for v, path in chosen.items()}
        self._aspire(watched)

    def _aspire(self, watched: _Watched) -> None:
        """Tell the target what the last look chose, if there was one."""
        if watched.chosen is None:
            return
        ids = {v: ServableId(watched.model.name, v) for v in watched.chosen}
        self._target.set_aspired_versions(
            watched.model.name,
            [self._make_loader(ids[v], *found) for v, found in watched.chosen.items()],
        )


def _forget_all_but(present: Collection[int], watched: _Watched) -> None:
    """Forget versions that are gone: one that comes back is new, and has to settle again."""
    watched.settled = {v: seen for v, seen in watched.settled.items() if v in present}
    watched.last_seen = {v: seen for v, seen in watched.last_seen.items() if v in present}


def _no_answer(model: ModelConfig) -> SigrunError:
    return InvalidArgument(
        f"Could not find base path {model.base_path} for servable {model.name} "
        "with error: its file system does not answer"
    )


def _note_problem(watched: _Watched, problem: SigrunError | None) -> None:
    """Keep the problem, and log it once; that files are being written is none."""
    is_news = problem is not None and str(problem) != str(watched.problem)
    if is_news and not isinstance(problem, Unavailable):
        logger.warning("%s", problem)
    watched.problem = problem


def _note_missing(watched: _Watched, chosen: Mapping[int, Path]) -> None:
    """Log once which versions a specific policy asks for in vain."""
    policy = watched.model.version_policy
    wanted = policy.versions if isinstance(policy, SpecificVersions) else frozenset()
    missing = wanted.difference(chosen)
    if missing and missing != watched.missing and not watched.is_settling:
        logger.warning(
            "versions %s of servable %s are not under base path %s",
            ", ".join(map(str, sorted(missing))),
            watched.model.name,
            watched.model.base_path,
        )
    watched.missing = missing


def _problem_with(watched: _Watched, found: Mapping[int, Path] | SigrunError) -> SigrunError | None:
    """Return why a look came back without versions, None if it found some."""
    model = watched.model
    if isinstance(found, SigrunError):
        return found
    if found:
        return None
    if watched.is_settling:
        return Unavailable(f"The versions of {model.name} in {model.base_path} are being written")
    return NotFound(f"None of the versions in {model.base_path} is one that {model.name} asks for")
