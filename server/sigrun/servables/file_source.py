"""Watch base paths in the file system and say which versions should be loaded.

In: the models to watch, and what their base paths hold at each look. Out: the aspired
versions of each model, as loaders, told to a target. `looks` decides; this file waits.

Each model is looked at by a task of its own, every `poll_wait_s` seconds, and more often
for a while when a version is missing or being written. A look is taken in a thread. One that
does not answer is left to itself, so that a lost file system or a broken path touches
nothing but its own model.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sigrun.concurrency.daemons import DaemonThreads
from sigrun.config.models import ModelConfig, ModelSet, SpecificVersions
from sigrun.errors import InvalidArgument, SigrunError, Unavailable, listed
from sigrun.servables.folders import LOCAL, Folders
from sigrun.servables.looks import Loads, Look, Looker, Memory, Offer
from sigrun.servables.servable import ServableId
from sigrun.servables.source import AspiredVersionsTarget, Finding, GoBack, MakeLoader
from sigrun.servables.state import ServableState, State
from sigrun.telemetry.metrics import Gauge, Reading

logger = logging.getLogger(__name__)

_QUICK_S = 0.5
_SLOW_S = 10.0
_PATIENCE_S = 30.0
_REST = 5.0  # times as long as a look is the pause after it, at least
_MAX_READING = 8
_MAX_UNANSWERED = 64

TakeLook = Callable[[Callable[[], Look]], Awaitable[Look]]


class States(Protocol):
    """Knows what has become of the versions that were told."""

    def states(self, name: str) -> Mapping[int, ServableState]:
        """Return the state of each version of a model."""


@dataclass(eq=False, slots=True)
class _Watched:
    """One model under watch, as it is configured now."""

    model: ModelConfig
    memory: Memory = field(default_factory=Memory)
    chosen: Mapping[int, Offer] | None = None
    finding: Finding | None = None
    notices: frozenset[str] = frozenset()
    wanting_since: float | None = None
    reading: asyncio.Future[Look] | None = None
    task: asyncio.Task[None] | None = None


class FileSystemSource:
    """Looks at the base paths of a `ModelSet`; implements `Source`.

    `loaders` has a function for each platform. `poll_wait_s` of 0 or less: a model is looked
    at until its versions are complete, and then not before it is configured anew. `store` reads
    base paths that are URLs.
    """

    def __init__(
        self,
        *,
        loaders: Mapping[str, MakeLoader],
        target: AspiredVersionsTarget,
        states: States,
        poll_wait_s: float,
        quiet_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        take: TakeLook | None = None,
        answer_within_s: float = 10.0,
        store: Folders = LOCAL,
    ) -> None:
        self._loaders = loaders
        self._target = target
        self._states = states
        self._poll_wait_s = poll_wait_s
        self._quiet_s = quiet_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._threads = DaemonThreads("look")
        self._take = take or self._threads.run
        self._answer_within_s = answer_within_s
        self._store = store
        self._watched: Mapping[str, _Watched] = {}
        self._listeners: list[Callable[[], None]] = []
        self._places = asyncio.Semaphore(_MAX_READING)
        self._readings: set[asyncio.Future[Look]] = set()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every look."""
        self._listeners.append(listener)

    def watch(self, models: ModelSet) -> GoBack:
        """Watch these models and no others from now on; see `Source.watch`."""
        before = self._watched
        self._switch({model.name: self._watched_as(model) for model in models})
        return lambda: self._watch_again(before)

    def finding(self, name: str) -> Finding | None:
        """Return what was found of a model as it is configured now."""
        watched = self._watched.get(name)
        return watched.finding if watched else None

    def look_again(self, name: str) -> None:
        """Look at a model now; see `Source.look_again`."""
        watched = self._watched.get(name)
        if watched is None:
            return
        watched.memory = watched.memory.as_if_just_loaded()
        watched.finding = None
        watched.reading = None  # one that is under way knows the old memory
        if watched.task is not None:
            watched.task.cancel()
        self._start_following(watched)

    def readings(self) -> Iterable[Reading]:
        """Yield how the last looks went, as metrics."""
        for name, watched in self._watched.items():
            if watched.finding is not None:
                yield Gauge(
                    name="sigrun_base_path_problem",
                    help="Whether the last look at a model's base path found no version to serve",
                    value=watched.finding.problem is not None,
                    labels={"model": name},
                )

    async def close(self) -> None:
        """Watch nothing any more; looks that do not answer are not waited for."""
        tasks = [watched.task for watched in self._watched.values() if watched.task]
        self._watched = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.close()

    def _watch_again(self, before: Mapping[str, _Watched]) -> None:
        self._switch(before)
        for watched in before.values():
            self._aspire(watched)

    def _watched_as(self, model: ModelConfig) -> _Watched:
        known = self._watched.get(model.name)
        if known is None or known.model.folder != model.folder:
            return _Watched(model)
        if known.model == model:
            return known
        return _Watched(model, memory=known.memory, chosen=known.chosen)

    def _switch(self, after: Mapping[str, _Watched]) -> None:
        before, self._watched = self._watched, after
        for watched in before.values():
            if after.get(watched.model.name) is not watched and watched.task is not None:
                watched.task.cancel()
                watched.task = None
        for name in before.keys() - after.keys():
            self._target.set_aspired_versions(name, ())
        for watched in after.values():
            if watched.task is None or watched.task.done():
                self._start_following(watched)

    def _start_following(self, watched: _Watched) -> None:
        following = self._follow(watched)
        watched.task = asyncio.create_task(following, name=f"watch {watched.model.name}")

    async def _follow(self, watched: _Watched) -> None:
        """Look at one model again and again."""
        while True:
            began_at = self._clock()
            try:
                await self._look_at(watched)
            except Exception:
                logger.exception("looking for versions failed; the next look may do better")
            pause_s = self._pause_s(watched)
            if pause_s == math.inf:
                return
            # A look at many files must not keep a CPU from requests for most of the time; one at
            # a store mostly waits.
            rest = 1.0 if watched.model.is_stored else _REST
            await self._sleep(max(pause_s, rest * (self._clock() - began_at)))

    def _pause_s(self, watched: _Watched) -> float:
        poll_s = self._poll_wait_s if self._poll_wait_s > 0 else math.inf
        if watched.wanting_since is None:
            return poll_s
        is_overdue = self._is_overdue(watched)
        return min(poll_s, _SLOW_S if is_overdue else _QUICK_S)

    def _is_overdue(self, watched: _Watched) -> bool:
        since = watched.wanting_since
        return since is not None and self._clock() - since >= _PATIENCE_S

    async def _look_at(self, watched: _Watched) -> None:
        look = await self._answer(watched)
        if self._watched.get(watched.model.name) is not watched:
            return
        if look is None:
            problem = _no_answer(watched.model)
            look = Look(memory=watched.memory, chosen=None, problem=problem)
        self._adopt(watched, look)

    async def _answer(self, watched: _Watched) -> Look | None:
        """Return a look, None if there is no answer in time; the same is waited for next time."""
        if watched.reading is None:
            if len(self._readings) >= _MAX_UNANSWERED:
                return None
            # Whoever does not answer leaves its place to the others.
            async with self._places:
                watched.reading = self._start_reading(watched)
                await asyncio.wait([watched.reading], timeout=self._answer_within_s)
        else:
            await asyncio.wait([watched.reading], timeout=self._answer_within_s)
        if not watched.reading.done():
            return None
        reading, watched.reading = watched.reading, None
        return reading.result()

    def _start_reading(self, watched: _Watched) -> asyncio.Future[Look]:
        looker = Looker(
            model=watched.model,
            loads=self._loads(watched.model.name),
            now=self._clock(),
            wall_now=self._wall_clock(),
            quiet_s=self._quiet_s,
            folders=self._store if watched.model.is_stored else LOCAL,
        )
        memory = watched.memory
        reading = asyncio.ensure_future(self._take(lambda: looker.look(memory)))
        self._readings.add(reading)
        reading.add_done_callback(self._end_reading)
        return reading

    def _end_reading(self, reading: asyncio.Future[Look]) -> None:
        self._readings.discard(reading)
        if not reading.cancelled():
            reading.exception()  # seen: no complaint if nobody waits for it any more

    def _loads(self, name: str) -> Loads:
        states = self._states.states(name)
        return Loads(
            loading=frozenset(v for v, s in states.items() if s.state < State.AVAILABLE),
            failed=frozenset(v for v, s in states.items() if s.state is State.END and s.error),
        )

    def _adopt(self, watched: _Watched, look: Look) -> None:
        """Make what a look found known, and tell the target."""
        watched.memory = look.memory
        if look.problem is None and not look.settling:
            watched.wanting_since = None
        elif watched.wanting_since is None:
            watched.wanting_since = self._clock()
        before, watched.finding = watched.finding, self._finding(watched, look)
        self._log(watched, look, before)
        if look.chosen is not None:
            watched.chosen = look.chosen
            self._aspire(watched)
        for listener in self._listeners:
            listener()

    def _finding(self, watched: _Watched, look: Look) -> Finding:
        chosen = look.chosen or {}
        return Finding(
            chosen=frozenset(chosen),
            problem=look.problem,
            settling=look.settling,
            changed={v: offer.change for v, offer in chosen.items() if offer.change},
            is_overdue=self._is_overdue(watched),
        )

    def _aspire(self, watched: _Watched) -> None:
        """Tell the target what was chosen last, if anything ever was."""
        if watched.chosen is None:
            return
        name, make_loader = watched.model.name, self._loaders[watched.model.platform]
        self._target.set_aspired_versions(
            name,
            [
                make_loader(ServableId(name, v), offer.path, offer.revision)
                for v, offer in watched.chosen.items()
            ],
        )

    def _log(self, watched: _Watched, look: Look, before: Finding | None) -> None:
        """Log what is wrong once; that files are being written is not wrong for a while."""
        problem = look.problem
        is_news = before is None or str(problem) != str(before.problem)
        if is_news and problem is not None and not isinstance(problem, Unavailable):
            logger.warning("%s", problem)
        notices = {**look.notices, **_missing(watched.model, look)}
        if watched.finding is not None and watched.finding.is_overdue:
            notices |= _unsettled(watched.model, look.settling)
        for key in notices.keys() - watched.notices:
            logger.warning("%s", notices[key])
        watched.notices = frozenset(notices)


def _no_answer(model: ModelConfig) -> SigrunError:
    return InvalidArgument(
        f"Could not find base path {model.base_path} for servable {model.name} "
        "with error: its file system does not answer"
    )


def _missing(model: ModelConfig, look: Look) -> dict[str, str]:
    """Say which versions a specific policy asks for in vain."""
    policy = model.version_policy
    if not isinstance(policy, SpecificVersions) or look.chosen is None:
        return {}
    missing = policy.versions.difference(look.chosen, look.settling)
    if not missing:
        return {}
    versions = listed(sorted(missing))
    text = f"versions {versions} of servable {model.name} are not under base path {model.base_path}"
    return {text: text}


def _unsettled(model: ModelConfig, settling: Mapping[int, str]) -> dict[str, str]:
    return {
        f"unsettled {v}": f"servable {model.name} has waited {_PATIENCE_S:g} s for its files: "
        f"{reason}; it is looked at less often from now on"
        for v, reason in settling.items()
    }
