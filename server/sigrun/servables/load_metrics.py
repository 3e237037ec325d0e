"""How versions come to be served, as metrics: settling, loading, state, reloads.

In: what the source finds, what loaders do, what the monitor remembers. Out: readings. Used on
one event loop.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sigrun.errors import Code, code_of
from sigrun.servables.folders import Revision
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.servable import Loader, LoaderAround, Servable, ServableId
from sigrun.servables.source import MakeLoader
from sigrun.servables.state import State
from sigrun.telemetry.metrics import Buckets, Counter, Distribution, Gauge, Reading

_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class LoadMetrics:
    """Times every load; `around` decorates loaders."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loads: dict[tuple[str, Code], Buckets] = {}

    def around(self, make_loader: MakeLoader) -> MakeLoader:
        """Return `make_loader`, whose loads are timed."""

        def make_observed(id: ServableId, path: Path, revision: Revision) -> Loader:
            return ObservedLoader(make_loader(id, path, revision), self)

        return make_observed

    async def load(self, loader: Loader) -> Servable:
        """Load, and take note of it. Raises what the loader raises."""
        began = self._clock()
        code = Code.OK
        try:
            return await loader.load()
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            durations = self._loads.setdefault((loader.id.name, code), Buckets(_BOUNDS_S))
            durations.add(self._clock() - began)

    def readings(self) -> Iterable[Reading]:
        """Return what was measured, as metrics."""
        for (model, code), durations in self._loads.items():
            yield Distribution(
                name="sigrun_load_duration_seconds",
                help="Attempts to load a version, with fetching and warming up, by outcome",
                value=durations.histogram,
                labels={"model": model, "code": code.name},
            )


class ObservedLoader(LoaderAround):
    """A `Loader` around another one, for `LoadMetrics`."""

    def __init__(self, loader: Loader, metrics: LoadMetrics) -> None:
        super().__init__(loader)
        self._metrics = metrics

    async def load(self) -> Servable:
        """Load the version. Raises a `SigrunError` that says why it cannot be served."""
        return await self._metrics.load(self._loader)


class VersionMetrics:
    """The state of every version, and how long new ones took to settle.

    `look` is to be called after every look of the source.
    """

    def __init__(
        self,
        models: ServedModels,
        monitor: ServableStateMonitor,
        manager: AspiredVersionsManager,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._monitor = monitor
        self._manager = manager
        self._clock = clock
        self._settling: dict[ServableId, float] = {}  # since when
        self._settled: dict[str, Buckets] = {}

    def look(self) -> None:
        """Take note of which versions settle, and which have settled."""
        now = self._clock()
        settling, chosen = set[ServableId](), set[ServableId]()
        for model in self._models.watched:
            if (finding := self._models.finding(model.name)) is not None:
                settling |= {ServableId(model.name, version) for version in finding.settling}
                chosen |= {ServableId(model.name, version) for version in finding.chosen}
        for id in self._settling.keys() - settling:
            began = self._settling.pop(id)
            if id in chosen:
                self._settled.setdefault(id.name, Buckets(_BOUNDS_S)).add(now - began)
        for id in settling:
            self._settling.setdefault(id, now)

    def readings(self) -> Iterator[Reading]:
        """Yield what is the case, as metrics."""
        for model in self._models.watched:
            finding = self._models.finding(model.name)
            chosen = frozenset[int]() if finding is None else finding.chosen
            yield Gauge(
                name="sigrun_model_versions_settling",
                help="Versions whose files are waited for to stay as they are",
                value=0 if finding is None else len(finding.settling),
                labels={"model": model.name},
            )
            yield from self._states(model.name, chosen)
        for id, requests in self._manager.in_flight().items():
            yield Gauge(
                name="sigrun_model_in_flight_requests",
                help="Requests that hold a version, be they waiting or running",
                value=requests,
                labels={"model": id.name, "version": str(id.version)},
            )
        for name, durations in self._settled.items():
            yield Distribution(
                name="sigrun_settle_duration_seconds",
                help="From the first look at a version to the one after which it could be loaded, "
                "for those that were not complete at once",
                value=durations.histogram,
                labels={"model": name},
            )

    def _states(self, name: str, chosen: frozenset[int]) -> Iterator[Reading]:
        for version, known in self._monitor.states(name).items():
            labels = {"model": name, "version": str(version)}
            is_wanted = version in chosen
            if known.state is State.END and not is_wanted:
                continue  # gone, or given up: nobody asks for it any more
            yield Gauge(
                name="sigrun_model_version_state",
                help="1 for the state that a version is in, of those that are wanted or loaded",
                value=1,
                labels={**labels, "state": known.state.name},
            )
            yield Gauge(
                name="sigrun_model_version_failed",
                help="1 for a version that is wanted and failed to load, 0 for one that did not",
                value=known.state is State.END and known.error is not None,
                labels=labels,
            )


class ReloadMetrics:
    """What became of reloads, by what set them off: a call, or the file that was changed."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counts: Counts[tuple[str, Code]] = Counts()
        self._last: dict[str, tuple[Code, float]] = {}

    def teller(self, trigger: str) -> Callable[[Code], None]:
        """Return what is to be told how each reload ended that `trigger` set off."""

        def tell(code: Code) -> None:
            self._counts[trigger, code] += 1
            self._last[trigger] = code, self._clock()

        return tell

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        for (trigger, code), count in self._counts.items():
            yield Counter(
                name="sigrun_reloads",
                help="Reloads of the set of models, by outcome; of the file, each new outcome",
                value=count,
                labels={"trigger": trigger, "code": code.name},
            )
        for trigger, (code, ended_at) in self._last.items():
            yield Gauge(
                name="sigrun_last_reload_success",
                help="1 if the last reload was taken over, 0 if it was refused",
                value=code is Code.OK,
                labels={"trigger": trigger},
            )
            yield Gauge(
                name="sigrun_last_reload_timestamp_seconds",
                help="When the last reload ended, in seconds since 1970",
                value=ended_at,
                labels={"trigger": trigger},
            )
