"""A worker's part in its model server: what the supervisor decides is done here.

In: calls of the supervisor. `load` loads a version and nobody is directed to it; `apply` changes
what is served, in one step of the event loop; `unload` gives back what is not served any more.
Out: answers, and what only the supervisor can answer asked of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from sigrun.concurrency.budget import Budget
from sigrun.concurrency.offload import Offload
from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import AdminOptions, GrpcOptions, HttpOptions, ServerConfig, TlsOptions
from sigrun.errors import Internal, NotFound, Unavailable
from sigrun.inference.backend import Administration
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext
from sigrun.inference.management import ManagedModel
from sigrun.servables.folders import Revision
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.object_store import ObjectStore
from sigrun.servables.readiness import Health, Readiness
from sigrun.servables.servable import Loader, Servable, ServableId
from sigrun.servables.source import Finding, GoBack, MakeLoader, Source
from sigrun.servables.state import ServableState, StateStream
from sigrun.server import Alone
from sigrun.telemetry.metrics import Exposition, Metrics, Reading
from sigrun.wire.ports import MakesPorts, Port, Ports
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.rpcs import Services
from sigrun.wire.transport.listener import Listener
from sigrun.workers import values
from sigrun.workers.channel import Channel, Handler
from sigrun.workers.entries import MODEL, STARTED
from sigrun.workers.handover import PortName, Taker
from sigrun.workers.health import HEALTH, FollowedHealth
from sigrun.workers.values import ModelEntry, Plain

_ANSWER_WITHIN_S = 30.0  # for the supervisor, which waits for the other workers


class LoadedLoader:
    """A version that has been loaded already; implements `Loader`. Its key is its revision."""

    def __init__(self, key: int, loader: Loader, servable: Servable) -> None:
        self._key = key
        self._loader = loader
        self.servable = servable
        self.is_managed = False  # by the manager, which unloads it then
        self.unloaded = asyncio.Event()

    @property
    def id(self) -> ServableId:
        """The servable that this is."""
        return self._loader.id

    @property
    def revision(self) -> Hashable:
        """Tell one load of a version from another."""
        return self._key

    async def load(self) -> Servable:
        """Return what is loaded."""
        self.is_managed = True
        return self.servable

    async def unload(self) -> None:
        """Give back everything that the load took."""
        try:
            await self._loader.unload()
        finally:
            self.unloaded.set()


class FollowedSource:
    """Knows what the supervisor's source has found; implements `Source`."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding | None] = {}
        self._listeners: list[Callable[[], None]] = []

    def watch(self, models: ModelSet) -> GoBack:
        """Do nothing: the supervisor watches."""
        return lambda: None

    def look_again(self, name: str) -> None:
        """Do nothing: the supervisor looks."""

    def finding(self, name: str) -> Finding | None:
        """Return what was found of a model."""
        return self._findings.get(name)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when something else was found."""
        self._listeners.append(listener)

    def readings(self) -> Iterable[Reading]:
        """Return nothing: the supervisor looks."""
        return ()

    async def close(self) -> None:
        """Do nothing: nothing is watched here."""

    def take(self, findings: Mapping[str, Finding | None]) -> None:
        """Make findings known."""
        self._findings |= findings
        for listener in self._listeners:
            listener()


class FollowedModels(ServedModels):
    """The models that the supervisor serves."""

    def __init__(
        self,
        following: Following,
        *,
        source: Source,
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        labels: VersionLabels,
        options: LifecycleOptions,
        states: StateStream,
    ) -> None:
        super().__init__(
            source=source,
            manager=manager,
            monitor=monitor,
            labels=labels,
            options=options,
            states=states,
        )
        self._following = following

    async def start(self, wanted: ModelSet) -> None:
        """Return when the supervisor's first models are settled."""
        self._following.waits.set()
        await self._following.started.wait()


class Following(Alone):
    """Does what the supervisor says; `connect` it before the server starts."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._channel: Channel | None = None
        self.waits = asyncio.Event()
        self.started = asyncio.Event()
        self._moved = asyncio.Event()
        self._loaded: dict[int, LoadedLoader] = {}
        self._entries: dict[str, ModelEntry] = {}

    def connect(self, channel: Channel) -> None:
        """Ask the supervisor by this channel."""
        self._channel = channel

    def handlers(self) -> dict[str, Handler]:
        """Return what answers the supervisor's calls about models, by name."""
        return {
            "begin": self._begin,
            "load": self._load,
            "apply": self._apply,
            "unload": self._unload,
        }

    async def ask(self, name: str, value: Plain = None, within_s: float | None = None) -> Plain:
        """Return what the supervisor answers; `within_s` None gives it the usual time."""
        if self._channel is None:
            raise Unavailable("The server is starting")
        limit_s = _ANSWER_WITHIN_S if within_s is None else within_s
        return await self._channel.call(name, value, within_s=limit_s)

    async def ask_patiently(self, name: str, value: Plain) -> Plain:
        """Return what the supervisor answers, which has a limit of its own."""
        if self._channel is None:
            raise Unavailable("The server is starting")
        return await self._channel.call(name, value, within_s=None)

    # What the supervisor says.

    async def _begin(self, _: Plain) -> None:
        """Answer when versions can be loaded, and connections taken."""
        await self.waits.wait()

    async def _load(self, plain: Plain) -> Plain:
        id = ServableId(plain["name"], plain["version"])
        path = plain["path"]
        loader = self._make_loader(id, Path(path), Revision(path, frozenset(), 0.0))
        servable = await loader.load()
        self._loaded[plain["key"]] = LoadedLoader(plain["key"], loader, servable)
        return values.signatures_to_plain(servable.signatures)

    async def _unload(self, key: Plain) -> None:
        loaded = self._loaded.pop(key, None)
        if loaded is None:  # it was never loaded here
            return
        if loaded.is_managed:
            await loaded.unloaded.wait()  # for its last request
        else:
            await loaded.unload()

    async def _apply(self, plain: Plain) -> None:
        """Serve from now on what the entries say, in one step once everything is at hand."""
        changed = {
            name.removeprefix(MODEL): values.entry_from_plain(entry)
            for name, entry in plain.items()
            if name.startswith(MODEL)
        }
        before = {name: self._entries.get(name, ModelEntry()) for name in changed}
        for name, entry in changed.items():
            self._aspire(name, {**before[name].served, **entry.served})
        while not all(self._is_at_hand(name, entry) for name, entry in changed.items()):
            self._moved.clear()
            await self._moved.wait()
        # From here on without a pause: labels and versions change together.
        self._entries |= changed
        self._source.take({name: entry.finding for name, entry in changed.items()})
        self._take_set(has_started=self.started.is_set() or bool(plain.get(STARTED)))
        for name, entry in changed.items():
            self._aspire(name, entry.served)
            self._publish(entry.states)
        if HEALTH in plain:
            self._health.take(plain[HEALTH])
        if plain.get(STARTED):
            self.started.set()

    def _aspire(self, name: str, served: Mapping[int, int]) -> None:
        self._manager.set_aspired_versions(name, [self._loaded[key] for key in served.values()])

    def _is_at_hand(self, name: str, entry: ModelEntry) -> bool:
        return all(self._is_served(self._loaded[key]) for key in entry.served.values())

    def _is_served(self, loaded: LoadedLoader) -> bool:
        try:
            with self._manager.acquire(loaded.id.name, loaded.id.version) as handle:
                return handle.servable is loaded.servable
        except NotFound:
            return False

    def _take_set(self, *, has_started: bool) -> None:
        configs = (entry.config for _, entry in sorted(self._entries.items()))
        models = ModelSet(tuple(config for config in configs if config is not None))
        if not has_started:
            self._models.expect(models)
        elif models != self._models.current or not self._models.has_started:
            self._models.take_over(models)

    def _publish(self, states: Iterable[ServableState]) -> None:
        for state in states:
            if state != self._monitor.state(state.id):
                self._states.publish(state)

    # Its part in the server.

    def loaders(self, make_own: Callable[[], MakeLoader]) -> MakeLoader:
        """Return what loads versions into this process."""
        return make_own()

    def manager_states(self, states: StateStream) -> StateStream:
        """Return a stream for nobody else: the supervisor says what becomes of versions."""
        own = StateStream()
        own.subscribe(lambda _: self._moved.set())
        return own

    def models(
        self,
        *,
        config: ServerConfig,
        make_loader: MakeLoader,
        store: ObjectStore,
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        labels: VersionLabels,
        states: StateStream,
    ) -> tuple[Source, ServedModels]:
        """Return what repeats what the supervisor says."""
        self._make_loader = make_loader
        self._source = FollowedSource()
        self._manager, self._monitor, self._states = manager, monitor, states
        self._models = FollowedModels(
            self,
            source=self._source,
            manager=manager,
            monitor=monitor,
            labels=labels,
            options=config.lifecycle,
            states=states,
        )
        return self._source, self._models

    def log_state(self, state: ServableState) -> None:
        """Say nothing: the supervisor does."""

    def config_file(self, config: ServerConfig) -> Path | None:
        """Return None: the supervisor follows it."""
        return None

    def management(self, management: Administration) -> Administration:
        """Return what asks the supervisor."""
        return FollowedManagement(self)

    def health(self, readiness: Readiness) -> Health:
        """Return what the supervisor says, and what is known here sooner."""
        self._health = FollowedHealth(readiness)
        return self._health

    def exposition(self, metrics: Metrics) -> Exposition:
        """Return what shows the counts of all workers."""
        self.metrics = metrics
        return WholeExposition(self)

    def ports(self, offload: Offload, budget: Budget) -> MakesPorts:
        """Return what makes ports that are given their connections."""
        return TakenPorts(Ports(offload, budget=budget, listen=False), self._taker)


class FollowedManagement:
    """Asks the supervisor, which knows the state of all workers; implements `Administration`."""

    def __init__(self, following: Following) -> None:
        self._following = following

    async def status(self, call: StatusCall) -> Mapping[int, ServableState]:
        """Return the states of versions, as they are in every worker."""
        spec = call.spec
        plain = {"name": spec.name, "version": spec.version, "label": spec.label}
        answer = await self._following.ask("status", plain, _left_s(call.context.deadline))
        return values.states_from_plain(answer)

    async def models(self, context: CallContext) -> Mapping[str, Mapping[int, ServableState]]:
        """Return the states of the versions of every model known, by name."""
        answer = await self._following.ask("models", None, _left_s(context.deadline))
        return {name: values.states_from_plain(states) for name, states in answer.items()}

    async def blockers(self) -> Sequence[str]:
        """Return what keeps traffic from being sent to this server as a whole."""
        blockers: list[str] = await self._following.ask("blockers")
        return blockers

    async def troubles(self) -> Sequence[str]:
        """Return what is wrong with versions that are served, in whichever worker."""
        troubles: list[str] = await self._following.ask("troubles")
        return troubles

    async def reload(self, wanted: ModelSet, deadline: float | None = None) -> None:
        """Return when every worker serves `wanted`; see `ServedModels.reload`.

        The supervisor bounds the time that it takes.
        """
        models = [values.model_to_plain(model) for model in wanted]
        await self._ask("reload", deadline, models=models)

    async def listing(self, context: CallContext) -> Sequence[ManagedModel]:
        """Return every model known, in the order of their names."""
        answer = await self._following.ask("listing", None, _left_s(context.deadline))
        return [values.managed_from_plain(model) for model in answer]

    async def load(self, model: ModelConfig, context: CallContext) -> ManagedModel:
        """Return when every worker serves `model`."""
        plain = values.model_to_plain(model)
        return values.managed_from_plain(await self._ask("add", context.deadline, model=plain))

    async def unload(self, name: str, context: CallContext) -> None:
        """Return when no worker serves a model any longer."""
        await self._ask("remove", context.deadline, name=name)

    async def load_again(self, name: str, context: CallContext) -> ManagedModel:
        """Return when every worker has loaded the versions of a model again."""
        answer = await self._ask("load again", context.deadline, name=name)
        return values.managed_from_plain(answer)

    async def set_labels(
        self,
        name: str,
        labels: Mapping[str, int],
        removed: Collection[str],
        context: CallContext,
    ) -> ManagedModel:
        """Return when the labels of a model are these in every worker."""
        answer = await self._ask(
            "set labels",
            context.deadline,
            name=name,
            labels=dict(labels),
            removed=sorted(removed),
        )
        return values.managed_from_plain(answer)

    async def _ask(self, what: str, deadline: float | None, **arguments: Plain) -> Plain:
        """Have the supervisor change something, which bounds the time that it takes."""
        left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        return await self._following.ask_patiently(what, {**arguments, "within_s": left_s})

    async def close(self) -> None:
        """Do nothing: the supervisor ends what is under way."""


class WholeExposition:
    """Shows what all workers and the supervisor have counted."""

    def __init__(self, following: Following) -> None:
        self._following = following

    async def page(self) -> bytes:
        """Return everything in Prometheus' text format 0.0.4."""
        readings = values.readings_from_plain(await self._following.ask("metrics"))
        whole = Metrics()
        whole.add(lambda: readings)
        return whole.text()


class TakenPorts:
    """Makes ports whose connections the supervisor gives to this process."""

    def __init__(self, ports: Ports, taker: Taker) -> None:
        self._ports = ports
        self._taker = taker

    def readings(self) -> Iterable[Reading]:
        """Return the numbers of connections that were given to this process."""
        return self._ports.readings()

    def grpc(self, options: GrpcOptions, services: Services) -> Port:
        """Return the port of gRPC."""
        return TakenPort(PortName.GRPC, self._ports.grpc(options, services), self._taker)

    def http(
        self,
        options: HttpOptions,
        rest: RestApi,
        probes: Probes,
        services: Services,
        grpc: GrpcOptions | None = None,
    ) -> Port:
        """Return the port of everything else."""
        port = self._ports.http(options, rest, probes, services, grpc)
        return TakenPort(PortName.HTTP, port, self._taker)

    def admin(
        self,
        admin: AdminOptions,
        probes: Probes,
        services: Services,
        http: HttpOptions,
        grpc: GrpcOptions,
    ) -> Port:
        """Return the port of administration."""
        port = self._ports.admin(admin, probes, services, http, grpc)
        return TakenPort(PortName.ADMIN, port, self._taker)


class TakenPort:
    """A port that listens nowhere. Raises `Internal` for a transport that cannot do that."""

    def __init__(self, name: PortName, port: Port, taker: Taker) -> None:
        if not isinstance(port, Listener):
            raise Internal(f"a {type(port).__name__} takes no connections from another process")
        self._name = name
        self._listener = port
        self._taker = taker
        self.port: int | None = None

    async def start(self) -> None:
        """Serve what is given to this port."""
        await self._listener.start()
        self._taker.open(self._name, self._listener)

    async def use_tls(self, tls: TlsOptions) -> None:
        """Show these certificates from now on."""
        await self._listener.use_tls(tls)

    async def stop(self, grace_s: float) -> None:
        """Let calls in flight finish for up to `grace_s`, then cut them."""
        await self._listener.stop(grace_s)


def _left_s(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    return min(max(deadline - time.monotonic(), 0.0), _ANSWER_WITHIN_S)
