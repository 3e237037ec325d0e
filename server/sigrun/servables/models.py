"""Replace the set of served models as a whole: at start, by request, from a changed file.

A new set is tried next to the old one. It takes over, with its labels, when every newly
named model has a version that can be acquired; else the old set goes on as if nothing had
been asked. Old versions are kept in memory until that is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelSet
from sigrun.errors import DeadlineExceeded, SigrunError, Unknown
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.source import FileSystemSource
from sigrun.servables.state import State

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.25

IsFound = Callable[[Collection[str]], bool]


class ServedModels:
    """The models that are served now. `start` once, then `reload`, one at a time."""

    def __init__(
        self,
        *,
        source: FileSystemSource,
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        labels: VersionLabels,
        options: LifecycleOptions,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._manager = manager
        self._monitor = monitor
        self._labels = labels
        self._options = options
        self._sleep = sleep
        self._current = ModelSet()
        self._listeners: list[Callable[[], None]] = []
        self._replacing = asyncio.Lock()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever another set is in force."""
        self._listeners.append(listener)

    @property
    def current(self) -> ModelSet:
        """The set in force."""
        return self._current

    async def start(self, wanted: ModelSet) -> None:
        """Load the first set and return when every model of it is settled.

        While no base path holds a version, that is waited for. Otherwise a model without
        versions, or whose versions fail, is logged and leaves the others alone; the source
        goes on looking for it.

        Raises `Unknown` if there are models and all of them fail, `DeadlineExceeded` if
        one is not settled in time, `FailedPrecondition` for a label on a version that is
        not available.
        """
        self._source.watch(wanted)
        await self._settle(wanted.names, self._any_found)
        failed = {name for name in wanted.names if not self._monitor.is_available(name)}
        if failed:
            error = self._not_available(failed, "servable(s)")
            if failed == wanted.names:
                raise error
            logger.error("%s", error)
        labels = wanted.labels
        self._labels.check(
            {name: labels[name] for name in labels.keys() - failed}, self._monitor.is_available
        )
        self._take_over(wanted)

    async def reload(self, wanted: ModelSet) -> None:
        """Put `wanted` in the place of the current set.

        Raises `Unknown` if a newly named model fails to load, `InvalidArgument` or
        `NotFound` if it has no base path or no versions, `FailedPrecondition` for a label
        that may not be assigned, `DeadlineExceeded` if loading takes too long. After an
        error the old set and its labels are in force.
        """
        async with self._replacing:
            with self._manager.unloads_held():
                before = self._source.watch(wanted)
                try:
                    await self._try(wanted)
                except BaseException:
                    self._source.watch_again(before)
                    raise
                self._take_over(wanted)

    def _take_over(self, wanted: ModelSet) -> None:
        self._labels.replace(wanted.labels)
        self._current = wanted
        for listener in self._listeners:
            listener()

    async def _try(self, wanted: ModelSet) -> None:
        added = wanted.names - self._current.names
        await self._settle(added | wanted.labels.keys(), self._all_written)
        for name in sorted(added):
            if problem := self._source.problem(name):
                raise problem
        if failed := {name for name in added if not self._monitor.is_available(name)}:
            raise self._not_available(failed, "model(s)")
        self._labels.check(wanted.labels, self._monitor.is_available)

    async def _settle(self, names: Collection[str], is_found: IsFound) -> None:
        """Wait until the models are found, and each of their versions available or failed."""
        limit_s = self._options.settle_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._source.look()
                while not is_found(names):
                    await self._sleep(_LOOK_AGAIN_S)
                    await self._source.look()
                await self._manager.wait_until_settled(names)
        except TimeoutError:
            raise DeadlineExceeded(
                f"After {limit_s:g} s these models were not settled: {self._unsettled(names)}"
            ) from None

    def _any_found(self, names: Collection[str]) -> bool:
        """Whether a version of some model is there; the rest need not be waited for."""
        problems = [self._source.problem(name) for name in names]
        return None in problems or not problems

    def _all_written(self, names: Collection[str]) -> bool:
        """Whether what is there of each model is complete, and may be judged."""
        return not any(self._source.is_settling(name) for name in names)

    def _unsettled(self, names: Collection[str]) -> str:
        reasons = {name: self._source.problem(name) or "still loading" for name in sorted(names)}
        return "; ".join(
            f"{name} ({reason})"
            for name, reason in reasons.items()
            if not self._monitor.is_available(name)
        )

    def _not_available(self, names: Collection[str], what: str) -> SigrunError:
        reasons = "".join(f"{self._reason(name)}, " for name in sorted(names))
        return Unknown(f"{len(names)} {what} did not become available: {{{reasons}}}")

    def _reason(self, name: str) -> str:
        for version, state in self._monitor.states(name).items():
            if state.state is State.END and state.error is not None:
                error = state.error
                return (
                    f"{{name: {name} version: {version}}} due to error: "
                    f"{error.code.name}: {error}}}"
                )
        return f"{{name: {name}}} due to error: {self._source.problem(name)}}}"
