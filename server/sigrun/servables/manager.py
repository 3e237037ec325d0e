"""Move every model towards its aspired versions, and hand out handles.

In: complete sets of aspired versions, as loaders. Out: handles on what is ready, and the
stream of state changes. All of it happens on one event loop, so the bookkeeping needs no
locks; loading and unloading are tasks of their own, and a request never waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.errors import Cancelled, Code, Internal, ServableNotFound, SigrunError
from sigrun.servables.handle import Pins, ServableHandle
from sigrun.servables.policy import AspiredVersionPolicy, Load, Phase, Unload, VersionSnapshot
from sigrun.servables.servable import Loader, Servable, ServableId
from sigrun.servables.state import ServableState, State, StateStream

logger = logging.getLogger(__name__)

# What is wrong on disk stays wrong until the files change, and then the source says so;
# only a failure of the surroundings is worth another try of the same files.
_WORTH_A_RETRY = frozenset(
    {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.DEADLINE_EXCEEDED}
)
_SLOW_REQUEST_S = 60.0


class _Harness:
    """One version inside the manager: its loader, its phase and what came of it."""

    __slots__ = ("loader", "next_loader", "phase", "pins", "servable", "unwanted")

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.phase = Phase.NEW
        self.servable: Servable | None = None
        self.pins = Pins()
        self.unwanted = asyncio.Event()
        # Set when the version is aspired again while it still unloads.
        self.next_loader: Loader | None = None

    @property
    def is_aspired(self) -> bool:
        """Whether the version is wanted, be it after an unload that is under way."""
        return self.next_loader is not None or not self.unwanted.is_set()


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
        self._changed = asyncio.Event()
        self._may_unload = True

    def set_aspired_versions(self, name: str, loaders: Iterable[Loader]) -> None:
        """Make these the versions of model `name`; what is omitted is unloaded.

        A version that is known already keeps its loader, except one that failed to load
        when the new loader has another `revision`.
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
        served = self._serving.get(name)
        if served is None:
            raise ServableNotFound(name, version)
        harness = served.latest if version is None else served.by_version.get(version)
        if harness is None or harness.servable is None:
            raise ServableNotFound(name, version)
        return ServableHandle(harness.loader.id, harness.servable, harness.pins)

    def available_versions(self, name: str) -> Collection[int]:
        """Return the versions of a model that can be acquired, in increasing order."""
        served = self._serving.get(name)
        return sorted(served.by_version) if served else ()

    async def wait_until_settled(self, names: Collection[str]) -> None:
        """Return when each aspired version of these models is available or has failed."""
        while not all(self._is_settled(name) for name in names):
            await self._changed.wait()

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

    async def close(self) -> None:
        """Unload everything and return when it is gone. Handles are waited for."""
        for name in list(self._models):
            self.set_aspired_versions(name, ())
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _aspire(self, versions: dict[int, _Harness], loader: Loader) -> None:
        known = versions.get(loader.id.version)
        if known is not None and known.phase is Phase.UNLOADING:
            known.next_loader = loader
            return
        if known is not None and not self._is_outdated(known, loader):
            known.unwanted.clear()
            return
        versions[loader.id.version] = _Harness(loader)
        self._announce(loader.id, State.START)

    @staticmethod
    def _is_outdated(known: _Harness, loader: Loader) -> bool:
        return known.phase is Phase.FAILED and known.loader.revision != loader.revision

    def _give_up(self, versions: dict[int, _Harness], harness: _Harness) -> None:
        harness.unwanted.set()
        harness.next_loader = None
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
                    self._start(self._load(harness), f"load {harness.loader.id}")
                case Unload():
                    harness.phase = Phase.UNLOADING
                    self._announce(harness.loader.id, State.UNLOADING)
                    self._publish_serving(name)
                    self._start(self._unload(harness), f"unload {harness.loader.id}")
        self._notify()

    async def _load(self, harness: _Harness) -> None:
        id = harness.loader.id
        try:
            harness.servable = await self._load_with_retries(harness)
        except SigrunError as error:
            self._fail(harness, error)
            return
        harness.phase = Phase.READY
        self._publish_serving(id.name)
        self._announce(id, State.AVAILABLE)
        self._move(id.name)

    async def _load_with_retries(self, harness: _Harness) -> Servable:
        for attempt in range(self._options.max_num_load_retries + 1):
            try:
                return await harness.loader.load()
            except SigrunError as error:
                is_last = attempt == self._options.max_num_load_retries
                if is_last or error.code not in _WORTH_A_RETRY:
                    raise
                logger.warning("loading %s failed, will retry: %s", harness.loader.id, error)
            except Exception as error:
                logger.exception("loading %s failed unexpectedly", harness.loader.id)
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
        harness.phase = Phase.FAILED
        if not harness.is_aspired:
            del self._models[id.name][id.version]
        self._announce(id, State.END, error)
        self._move(id.name)

    async def _unload(self, harness: _Harness) -> None:
        id = harness.loader.id
        await self._wait_for_requests(harness)
        harness.servable = None
        try:
            await harness.loader.unload()
        except Exception:
            logger.exception("unloading %s failed", id)
        versions = self._models[id.name]
        del versions[id.version]
        self._announce(id, State.END)
        if harness.next_loader is not None:
            self._aspire(versions, harness.next_loader)
        self._move(id.name)

    @staticmethod
    async def _wait_for_requests(harness: _Harness) -> None:
        waiting = asyncio.ensure_future(harness.pins.wait_until_none())
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_SLOW_REQUEST_S)
            if not waiting.done():
                logger.warning(
                    "%s waits for %d requests to finish before it can be unloaded",
                    harness.loader.id,
                    harness.pins.count,
                )

    def _publish_serving(self, name: str) -> None:
        ready = {v: h for v, h in self._models[name].items() if h.phase is Phase.READY}
        others = {n: served for n, served in self._serving.items() if n != name}
        self._serving = {**others, name: _Served(ready)} if ready else others

    def _is_settled(self, name: str) -> bool:
        aspired = [h for h in self._models.get(name, {}).values() if h.is_aspired]
        return all(h.phase in (Phase.READY, Phase.FAILED) for h in aspired)

    def _announce(self, id: ServableId, state: State, error: SigrunError | None = None) -> None:
        self._states.publish(ServableState(id, state, error))
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("%s failed unexpectedly", task.get_name(), exc_info=error)


def _snapshot(versions: Mapping[int, _Harness]) -> list[VersionSnapshot]:
    return [
        VersionSnapshot(v, harness.phase, harness.is_aspired) for v, harness in versions.items()
    ]
