"""Move every model towards its aspired versions, and hand out handles.

In: complete sets of aspired versions, as loaders. Out: handles on what is ready, and the
stream of state changes. All of it happens on one event loop, so the bookkeeping needs no
locks; loading and unloading are tasks of their own, and a request never waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.errors import (
    Cancelled,
    Code,
    Internal,
    ServableNotFound,
    SigrunError,
)
from sigrun.servables.handle import LoadedVersion, ServableHandle
from sigrun.servables.policy import (
    CAN_ANSWER,
    AspiredVersionPolicy,
    Load,
    Phase,
    Replace,
    Unload,
    VersionSnapshot,
)
from sigrun.servables.servable import Loader, Servable, ServableId
from sigrun.servables.state import ServableState, State, StateStream

logger = logging.getLogger(__name__)

# What is wrong on disk stays wrong until the files change, and then the source says so;
# only a failure of the surroundings is worth another try of the same files.
_WORTH_A_RETRY = frozenset(
    {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.DEADLINE_EXCEEDED}
)
_SLOW_REQUEST_S = 60.0
_LAST_STEPS_S = 0.5  # for tasks that are cancelled at the end to let go


_ON_ITS_WAY = frozenset({Phase.NEW, Phase.LOADING, Phase.UNLOADING})


class _Harness:
    """One version inside the manager: its loader, its phase and what came of it."""

    __slots__ = (
        "error",
        "is_stale",
        "loaded",
        "loader",
        "next_loader",
        "phase",
        "refused",
        "unwanted",
    )

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.phase = Phase.NEW
        self.loaded: LoadedVersion | None = None
        self.unwanted = asyncio.Event()
        # The one that is aspired, where that is not `loader`: the version still unloads, or
        # the files have changed since it was made.
        self.next_loader: Loader | None = None
        self.refused: Loader | None = None  # was to take the place of `loader`, and failed
        self.error: SigrunError | None = None  # what it failed with
        self.is_stale = False  # to be loaded again, whatever the revision

    @property
    def is_aspired(self) -> bool:
        """Whether the version is wanted, be it after an unload that is under way."""
        if self.phase is Phase.UNLOADING:
            return self.next_loader is not None
        return not self.unwanted.is_set()

    def aspire(self, loader: Loader) -> None:
        """Note that the version is wanted as `loader` would load it."""
        if self.phase is Phase.UNLOADING:
            self.next_loader = loader
            return
        self.unwanted.clear()
        is_known = not self.is_stale and any(
            known is not None and known.revision == loader.revision
            for known in (self.loader, self.refused)
        )
        self.next_loader = None if is_known else loader

    def give_up(self) -> None:
        """Note that the version is not wanted."""
        self.unwanted.set()
        self.next_loader = None


class _Served:
    """The versions of one model that can be acquired. Never changed, only replaced."""

    __slots__ = ("by_version", "latest")

    def __init__(self, by_version: Mapping[int, _Harness]) -> None:
        self.by_version = by_version
        self.latest = by_version[max(by_version)]


class AspiredVersionsManager:
    """Owns every loader and every state change.

    Call everything from the event loop that runs it. `set_aspired_versions` returns at
    once; `wait_until_settled` waits for what comes of it.
    """

    def __init__(
        self, *, policy: AspiredVersionPolicy, states: StateStream, options: LifecycleOptions
    ) -> None:
        self._policy = policy
        self._states = states
        self._options = options
        self._models: dict[str, dict[int, _Harness]] = {}
        self._serving: dict[str, _Served] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads: set[asyncio.Task[None]] = set()  # those of the tasks that load
        self._changed = asyncio.Event()
        self._may_unload = True

    def set_aspired_versions(self, name: str, loaders: Iterable[Loader]) -> None:
        """Make these the versions of model `name`; what is omitted is unloaded.

        A version that is known already keeps its loader, except when the new one has another
        `revision`: one that failed is tried again, and one that is loaded is loaded next to
        itself and replaced, or unloaded first, as the policy says.
        """
        wanted = {loader.id.version: loader for loader in loaders}
        versions = self._models.setdefault(name, {})
        for version, harness in list(versions.items()):
            if version not in wanted:
                self._give_up(versions, harness)
        for loader in wanted.values():
            self._aspire(versions, loader)
        self._move(name)

    def acquire(self, name: str, version: int | None = None) -> ServableHandle:
        """Pin `version` of model `name`, the highest one when None; use it in a `with`.

        Raises `ServableNotFound` when no such version is available.
        """
        return ServableHandle(self.find(name, version))

    def find(self, name: str, version: int | None = None) -> LoadedVersion:
        """Return what `acquire` pins, for use until the caller lets go of the event loop.

        Nothing is unloaded before that. Raises what `acquire` raises.
        """
        served = self._serving.get(name)
        if served is None:
            raise ServableNotFound(name, version)
        harness = served.latest if version is None else served.by_version.get(version)
        loaded = None if harness is None else harness.loaded
        if loaded is None:
            raise ServableNotFound(name, version)
        return loaded

    def available_versions(self, name: str) -> Collection[int]:
        """Return the versions of a model that can be acquired, in increasing order."""
        served = self._serving.get(name)
        return sorted(served.by_version) if served else ()

    def in_flight(self) -> Mapping[ServableId, int]:
        """Return how many handles are held on each version that can be acquired."""
        return {
            harness.loaded.id: harness.loaded.pins.count
            for served in self._serving.values()
            for harness in served.by_version.values()
            if harness.loaded is not None
        }

    def is_settled(self, name: str) -> bool:
        """Return whether each aspired version of a model is available or has failed."""
        aspired = [h for h in self._models.get(name, {}).values() if h.is_aspired]
        return not any(h.phase in _ON_ITS_WAY for h in aspired)

    async def wait_until_settled(self, names: Collection[str]) -> None:
        """Return when each aspired version of these models is available or has failed."""
        while not all(self.is_settled(name) for name in names):
            await self._changed.wait()

    def mark_stale(self, name: str) -> None:
        """Have each version of a model loaded again when it is aspired to next.

        Files that are the same count as changed then, and those that were refused as new.
        """
        for harness in self._models.get(name, {}).values():
            if harness.phase is not Phase.NEW:
                harness.is_stale = True
                harness.refused = harness.error = None

    def is_fresh(self, name: str) -> bool:
        """Return whether a model is settled, and nothing of it is to be loaded again."""
        aspired = [h for h in self._models.get(name, {}).values() if h.is_aspired]
        return self.is_settled(name) and not any(
            h.is_stale or h.next_loader is not None or h.phase is Phase.REPLACING for h in aspired
        )

    def refusals(self, name: str) -> Mapping[int, SigrunError]:
        """Return why versions could not be loaded again, which are served as they were."""
        return {v: h.error for v, h in self._models.get(name, {}).items() if h.error is not None}

    @contextlib.contextmanager
    def unloads_held(self) -> Iterator[None]:
        """Keep versions that are no longer aspired while the block runs.

        A new configuration can so be tried, and taken back, without a gap.
        """
        self._may_unload = False
        try:
            yield
        finally:
            self._may_unload = True
            for name in list(self._models):
                self._move(name)

    async def close(self, within_s: float = math.inf) -> None:
        """Unload everything, and return when it is gone or the time is up.

        Handles are waited for. Loads are given up: one that hangs holds up nothing.
        """
        for name in list(self._models):
            self.set_aspired_versions(name, ())
        for task in self._loads:
            task.cancel()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        while self._tasks and loop.time() < ends_at:
            left_s = ends_at - loop.time()
            await asyncio.wait(self._tasks, timeout=None if left_s == math.inf else left_s)
        if self._tasks:
            await self._abandon(self._tasks)

    async def _abandon(self, tasks: Collection[asyncio.Task[None]]) -> None:
        names = ", ".join(sorted(task.get_name() for task in tasks))
        logger.warning("these did not end in time and are left: %s", names)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_LAST_STEPS_S)

    def _aspire(self, versions: dict[int, _Harness], loader: Loader) -> None:
        known = versions.get(loader.id.version)
        if known is not None:
            known.aspire(loader)
            if known.phase is not Phase.FAILED or known.next_loader is None:
                return
        versions[loader.id.version] = _Harness(loader)
        self._announce(loader.id, State.START)

    def _give_up(self, versions: dict[int, _Harness], harness: _Harness) -> None:
        harness.give_up()
        if harness.phase in (Phase.NEW, Phase.FAILED):
            del versions[harness.loader.id.version]
        if harness.phase is Phase.NEW:
            self._announce(harness.loader.id, State.END)

    def _move(self, name: str) -> None:
        """Take every step that the policy allows now."""
        versions = self._models[name]
        while action := self._policy.next_action(_snapshot(versions), may_unload=self._may_unload):
            harness = versions[action.version]
            match action:
                case Load():
                    harness.phase = Phase.LOADING
                    self._announce(harness.loader.id, State.LOADING)
                    self._start_load(self._load(harness), f"load {harness.loader.id}")
                case Replace():
                    harness.phase = Phase.REPLACING
                    reason = "asked for" if harness.is_stale else "its files have changed"
                    logger.info("%s is loaded again: %s", harness.loader.id, reason)
                    harness.is_stale = False
                    loader = harness.next_loader or harness.loader  # the first, or it were current
                    replacing = self._replace(harness, loader)
                    self._start_load(replacing, f"load {harness.loader.id} again")
                case Unload():
                    harness.phase = Phase.UNLOADING
                    self._announce(harness.loader.id, State.UNLOADING)
                    self._publish_serving(name)
                    self._start(self._unload(harness), f"unload {harness.loader.id}")
        self._notify()

    async def _load(self, harness: _Harness) -> None:
        id = harness.loader.id
        try:
            servable = await self._load_with_retries(harness, harness.loader)
        except SigrunError as error:
            self._fail(harness, error)
            return
        except asyncio.CancelledError:
            self._fail(harness, Cancelled("Loading of servable cancelled"))
            raise
        harness.phase, harness.loaded = Phase.READY, LoadedVersion(id, servable)
        self._publish_serving(id.name)
        self._announce(id, State.AVAILABLE)
        self._move(id.name)

    async def _replace(self, harness: _Harness, loader: Loader) -> None:
        """Load what is on disk now, and put it in the place of what was loaded before."""
        id = loader.id
        try:
            servable = await self._load_with_retries(harness, loader)
        except SigrunError as error:
            harness.phase = Phase.READY
            self._keep(harness, loader, error)
            self._move(id.name)
            return
        except asyncio.CancelledError:
            harness.phase = Phase.READY
            self._move(id.name)
            raise
        self._models[id.name][id.version] = self._successor(harness, loader, servable)
        self._publish_serving(id.name)
        self._announce(id, State.AVAILABLE)
        self._start(self._retire(harness), f"unload {id} as it was before")
        self._move(id.name)

    @staticmethod
    def _successor(harness: _Harness, loader: Loader, servable: Servable) -> _Harness:
        successor = _Harness(loader)
        successor.phase, successor.loaded = Phase.READY, LoadedVersion(loader.id, servable)
        successor.is_stale = harness.is_stale  # marked while this load was under way
        if not harness.is_aspired:
            successor.give_up()
        elif harness.next_loader is not None:
            successor.aspire(harness.next_loader)
        return successor

    def _keep(self, harness: _Harness, loader: Loader, error: SigrunError) -> None:
        """Go on with what was loaded before the files changed."""
        harness.refused, harness.error = loader, error
        if harness.next_loader is not None:
            harness.aspire(harness.next_loader)
        if harness.is_aspired:
            note = (
                "it is served as it was loaded before; loading it again failed: "
                f"{error.code.name}: {error}"
            )
            logger.error("%s: %s", loader.id, note)
            self._announce(loader.id, State.AVAILABLE, note=note)

    async def _load_with_retries(self, harness: _Harness, loader: Loader) -> Servable:
        for attempt in range(self._options.max_num_load_retries + 1):
            try:
                return await loader.load()
            except SigrunError as error:
                is_last = attempt == self._options.max_num_load_retries
                if is_last or error.code not in _WORTH_A_RETRY:
                    raise
                logger.warning("loading %s failed, will retry: %s", loader.id, error)
            except Exception as error:
                logger.exception("loading %s failed unexpectedly", loader.id)
                raise Internal(f"{type(error).__name__}: {error}") from error
            await self._pause_unless_unwanted(harness)
        raise AssertionError("the last attempt returns or raises")

    async def _pause_unless_unwanted(self, harness: _Harness) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(self._options.load_retry_interval_s, 0)):
                await harness.unwanted.wait()
        if not harness.is_aspired:
            raise Cancelled("Loading of servable cancelled")

    def _fail(self, harness: _Harness, error: SigrunError) -> None:
        id = harness.loader.id
        versions = self._models[id.name]
        harness.phase = Phase.FAILED
        if not harness.is_aspired:
            del versions[id.version]
        self._announce(id, State.END, error)
        if harness.next_loader is not None:  # the files changed while they were being loaded
            self._aspire(versions, harness.next_loader)
        self._move(id.name)

    async def _unload(self, harness: _Harness) -> None:
        id = harness.loader.id
        await self._retire(harness)
        versions = self._models[id.name]
        del versions[id.version]
        self._announce(id, State.END)
        if harness.next_loader is not None:
            self._aspire(versions, harness.next_loader)
        self._move(id.name)

    async def _retire(self, harness: _Harness) -> None:
        """Give back what was loaded when the last handle on it is gone."""
        if harness.loaded is not None:
            await self._wait_for_requests(harness.loaded)
        harness.loaded = None
        try:
            await harness.loader.unload()
        except Exception:
            logger.exception("unloading %s failed", harness.loader.id)

    @staticmethod
    async def _wait_for_requests(loaded: LoadedVersion) -> None:
        waiting = asyncio.ensure_future(loaded.pins.wait_until_none())
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_SLOW_REQUEST_S)
            if not waiting.done():
                logger.warning(
                    "%s waits for %d requests to finish before it can be unloaded",
                    loaded.id,
                    loaded.pins.count,
                )

    def _publish_serving(self, name: str) -> None:
        ready = {v: h for v, h in self._models[name].items() if h.phase in CAN_ANSWER}
        others = {n: served for n, served in self._serving.items() if n != name}
        self._serving = {**others, name: _Served(ready)} if ready else others

    def _announce(
        self, id: ServableId, state: State, error: SigrunError | None = None, note: str = ""
    ) -> None:
        self._states.publish(ServableState(id, state, error, note))
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _start_load(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._start(work, name)
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("%s failed unexpectedly", task.get_name(), exc_info=error)


def _snapshot(versions: Mapping[int, _Harness]) -> list[VersionSnapshot]:
    return [
        VersionSnapshot(v, harness.phase, harness.is_aspired, harness.next_loader is not None)
        for v, harness in versions.items()
    ]
