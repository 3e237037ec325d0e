"""What the workers must know of the models, kept up to date as the supervisor's parts change.

In: the manager, the states, the set of models and the findings of the source. Out: an entry for
each model, told whenever it differs. All that changes in one step of the event loop is told as
one: a label that moves, and the version that leaves for it, move together in every worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.source import Finding, Source
from sigrun.servables.state import ServableState, StateStream
from sigrun.workers.loading import RemoteServable
from sigrun.workers.values import ModelEntry, Plain, entry_to_plain

STARTED = "started"
MODEL = "model "
"""What the names of entries begin with that are about a model."""

_LOOK_AGAIN_S = 0.2  # base paths are many, and what was found at them is for error texts only


class Entries:
    """Follows the supervisor's parts; `tell` takes a name and what is the case for it."""

    def __init__(
        self,
        tell: Callable[[str, Plain], None],
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        models: ServedModels,
        source: Source,
    ) -> None:
        self._tell = tell
        self._manager = manager
        self._monitor = monitor
        self._models = models
        self._source = source
        self._stale: set[str] = set()
        self._findings: dict[str, Finding | None] = {}
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None

    def follow(self, states: StateStream) -> None:
        """Tell of every change from now on. `states` has told the monitor before."""
        states.subscribe(self._on_state)
        self._models.subscribe(self._on_other_set)
        self._source.subscribe(self._on_look)
        self._on_other_set()

    def refresh(self) -> None:
        """Tell what has changed and is not told yet."""
        stale, self._stale = self._stale, set()
        for name in sorted(stale):
            self._tell(MODEL + name, entry_to_plain(self._entry(name)))
        self._tell(STARTED, self._models.has_started)

    def _on_state(self, state: ServableState) -> None:
        self._mark(state.id.name)

    def _on_other_set(self) -> None:
        self._mark(*self._names())

    def _on_look(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(_LOOK_AGAIN_S, self._compare_findings)

    def _compare_findings(self) -> None:
        self._look = None
        names = self._names()
        self._mark(*(n for n in names if self._source.finding(n) is not self._findings.get(n)))

    def _names(self) -> set[str]:
        return {*self._models.configured.names, *self._monitor.models()}

    def _mark(self, *names: str) -> None:
        if not self._stale:
            self._loop.call_soon(self.refresh)
        self._stale.update(names)

    def _entry(self, name: str) -> ModelEntry:
        finding = self._findings[name] = self._source.finding(name)
        return ModelEntry(
            served={v: self._key(name, v) for v in self._manager.available_versions(name)},
            config=self._models.configured.get(name),
            states=tuple(self._monitor.states(name).values()),
            finding=finding,
        )

    def _key(self, name: str, version: int) -> int:
        with self._manager.acquire(name, version) as handle:
            servable = handle.servable
            if not isinstance(servable, RemoteServable):
                raise TypeError(f"{handle.id} is loaded here, and not in the workers")
            return servable.key
