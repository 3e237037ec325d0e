"""Source, manager, monitor, labels and models put together on fake loaders and a real folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import (
    PLATFORM_TENSORFLOW,
    LatestVersions,
    ModelConfig,
    ModelSet,
    VersionPolicy,
)
from sigrun.errors import SigrunError
from sigrun.servables.absence import Absence
from sigrun.servables.file_source import FileSystemSource
from sigrun.servables.labels import VersionLabels
from sigrun.servables.looks import Look
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.policy import AspiredVersionPolicy, AvailabilityPreservingPolicy
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, StateStream
from tests.fakes.servables import FakeLoader

LATEST = LatestVersions()


class FakeSleep:
    """Stands in for `asyncio.sleep`; each sleep ends when the test says `wake`.

    `naps` lists the seconds that were asked for. With `on_sleep` nobody has to be woken:
    it is called, and the sleep is over.
    """

    def __init__(self, on_sleep: Callable[[], None] | None = None) -> None:
        self.naps: list[float] = []
        self._on_sleep = on_sleep
        self._asleep = asyncio.Event()
        self._woken = asyncio.Event()

    async def __call__(self, delay_s: float) -> None:
        self.naps.append(delay_s)
        if self._on_sleep is not None:
            self._on_sleep()
            return
        self._woken.clear()
        self._asleep.set()
        await self._woken.wait()

    async def until_asleep(self) -> None:
        """Return when somebody sleeps."""
        await self._asleep.wait()

    def wake(self) -> None:
        """End the sleep."""
        self._asleep.clear()
        self._woken.set()


class FakeClock:
    """Time that moves when the test says so; `sleep` stands in for `asyncio.sleep`.

    `naps` lists the seconds for which somebody slept or sleeps.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        """Return when the time has come."""
        self.naps.append(delay_s)
        sleeper = (self.now + delay_s, asyncio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, and everything happen that is due in them, in order."""
        await let_others_run()
        end = self.now + seconds
        while due := [at for at, _ in self._sleepers if at <= end]:
            self.now = min(due)
            for at, woken in list(self._sleepers):
                if at <= self.now:
                    woken.set()
            await let_others_run()
        self.now = end


class RecordedStates:
    """Listens to a stream; `seen` has every change as text: `mnist:3 AVAILABLE`."""

    def __init__(self, stream: StateStream) -> None:
        self.seen: list[str] = []
        self._more = asyncio.Event()
        stream.subscribe(self._record)

    def _record(self, state: ServableState) -> None:
        self.seen.append(f"{state.id} {state.state.name}")
        self._more.set()

    async def until(self, change: str) -> None:
        """Return when `change` has been seen."""
        while change not in self.seen:
            self._more.clear()
            await self._more.wait()

    def of(self, id: str) -> list[str]:
        """Return the changes of one servable, without its id."""
        return [
            change.removeprefix(f"{id} ") for change in self.seen if change.startswith(f"{id} ")
        ]


async def let_others_run() -> None:
    """Give every task that can go on the chance to, as often as it wants."""
    for _ in range(20):
        await asyncio.sleep(0)


def advance_clock(seconds: float) -> None:
    """Make it so much later for the running event loop: what is due by then, is due now."""
    loop = asyncio.get_running_loop()
    time_before = loop.time
    setattr(loop, "time", lambda: time_before() + seconds)  # noqa: B010  # a method, to mypy


class Lifecycle:
    """Everything that `ModelServer` builds below the wire, on loaders that obey the test.

    Base paths lie in `folder`. `errors` and `held` say what becomes of a version when it is
    loaded, by its id (`mnist:3`); `loaders` has the newest loader of each id. Looks are taken
    by the fake clock, at once and without a thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        policy: AspiredVersionPolicy | None = None,
        options: LifecycleOptions | None = None,
    ) -> None:
        self.folder = folder
        self.options = options or LifecycleOptions()
        self.errors: dict[str, SigrunError] = {}
        self.held: set[str] = set()
        self.loaders: dict[str, FakeLoader] = {}
        # What the source takes every file for, at least: settled at the first look.
        self.files_age_s = 3600.0
        self.clock = FakeClock()
        states = StateStream()
        self.stream = states
        self.monitor = ServableStateMonitor()
        states.subscribe(self.monitor.update)
        self.states = RecordedStates(states)
        self.labels = VersionLabels(allow_unavailable=self.options.allow_labels_for_unavailable)
        self.manager = AspiredVersionsManager(
            policy=policy or AvailabilityPreservingPolicy(), states=states, options=self.options
        )
        self.source = FileSystemSource(
            loaders={PLATFORM_TENSORFLOW: self._make_loader},
            target=self.manager,
            states=self.monitor,
            poll_wait_s=self.options.poll_wait_s,
            clock=self.clock,
            wall_clock=lambda: time.time() + self.files_age_s,
            sleep=self.clock.sleep,
            take=take_at_once,
        )
        self.models = ServedModels(
            source=self.source,
            manager=self.manager,
            monitor=self.monitor,
            labels=self.labels,
            options=self.options,
            states=states,
        )
        self.absence = Absence(self.models, self.monitor, self.labels)

    def add_version(self, name: str, version: int) -> Path:
        """Put a version of model `name` under its base path, and return its directory."""
        path = self.folder / name / str(version)
        path.mkdir(parents=True)
        (path / "saved_model.pb").write_text("a model")
        return path

    def model(
        self,
        name: str,
        policy: VersionPolicy = LATEST,
        labels: Mapping[str, int] | None = None,
    ) -> ModelConfig:
        """Return the configuration of the model whose base path is `folder / name`."""
        return ModelConfig(
            name=name,
            base_path=str(self.folder / name),
            version_policy=policy,
            version_labels=labels or {},
        )

    def _make_loader(self, id: ServableId, _: Path, revision: Hashable) -> FakeLoader:
        loader = self.loaders.get(str(id))
        if loader is None or loader.revision != revision or loader.unloads:
            error = self.errors.get(str(id))
            loader = FakeLoader(
                id,
                revision=revision,
                errors=[error] if error else [],
                is_held=str(id) in self.held,
            )
            self.loaders[str(id)] = loader
        return loader


async def serve(*loaders: FakeLoader) -> AspiredVersionsManager:
    """Return a manager that has loaded these."""
    manager = AspiredVersionsManager(
        policy=AvailabilityPreservingPolicy(), states=StateStream(), options=LifecycleOptions()
    )
    names = {loader.id.name for loader in loaders}
    for name in names:
        manager.set_aspired_versions(name, [x for x in loaders if x.id.name == name])
    await manager.wait_until_settled(names)
    return manager


def models(*configs: ModelConfig) -> ModelSet:
    """Return the set of these models."""
    return ModelSet(configs)


async def take_at_once(look: Callable[[], Look]) -> Look:
    """Take a look on the event loop, where nothing can come in between."""
    return look()
