"""The process that leads: it finds versions, decides, listens, and serves nothing itself.

It is a model server whose versions load into the workers, and whose ports give their connections
to them. So its policies, labels, reloads and states are those of any server, and hold for all
workers together: a version is AVAILABLE when it is loaded everywhere. What has been decided is
told to every worker as one step, and nobody hears of it from this server before each has made it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sigrun.concurrency.budget import Budget
from sigrun.concurrency.cpus import available_cpus
from sigrun.concurrency.offload import Offload
from sigrun.config.lifecycle import VersionTransition
from sigrun.config.models import ModelSet
from sigrun.config.server import AdminOptions, GrpcOptions, HttpOptions, ServerConfig, TlsOptions
from sigrun.inference.backend import Administration
from sigrun.inference.calls import ModelSpec, StatusCall
from sigrun.inference.context import CallContext, Door
from sigrun.inference.management import ManagedModel
from sigrun.servables.folders import Revision
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.object_store import ObjectStore
from sigrun.servables.servable import ServableId
from sigrun.servables.source import MakeLoader, Source
from sigrun.servables.state import StateStream
from sigrun.server import Alone, ModelServer
from sigrun.telemetry.lines import LogFormat
from sigrun.telemetry.metrics import Exposition, Metrics, Reading
from sigrun.wire.ports import MakesPorts, Port, admin_addresses, grpc_addresses, http_addresses
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.rpcs import Services
from sigrun.wire.transport import accepting
from sigrun.wire.transport.addresses import Address
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.listener import CORES
from sigrun.wire.transport.tls import tls_context
from sigrun.workers import handover, process, values
from sigrun.workers.entries import Entries
from sigrun.workers.fleet import Fleet
from sigrun.workers.handover import DispatchedPort
from sigrun.workers.health import HealthTeller
from sigrun.workers.loading import EverywhereLoader, Order
from sigrun.workers.process import WorkerOptions
from sigrun.workers.values import Plain


class Supervisor:
    """`config.workers` processes that serve as one; `start` it once, then `stop` it.

    `command` starts a worker.
    """

    def __init__(
        self,
        config: ServerConfig,
        *,
        log_format: LogFormat = LogFormat.TEXT,
        command: Sequence[str] = process.COMMAND,
    ) -> None:
        options = WorkerOptions(
            number=0,
            config=share_of(config, available_cpus()),
            log_format=log_format,
            log_level=logging.getLogger().level,
        )
        answers = {
            "status": self._status,
            "models": self._models,
            "blockers": self._blockers,
            "troubles": self._troubles,
            "reload": self._reload,
            "listing": self._listing,
            "add": self._add,
            "remove": self._remove,
            "load again": self._load_again,
            "set labels": self._set_labels,
            "metrics": self._readings,
        }
        self._fleet = Fleet(options, config.workers, answers, command=command)
        self._part = _Leading(self._fleet)
        self.server = ModelServer(config, part=self._part)
        self._part.entries.follow(self.server.states)
        self._health = HealthTeller(self.server.readiness, self._part.settled, self._fleet.tell)
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the initial models are settled in every worker, and every port is open.

        Raises a `SigrunError` if a port cannot be had, the models cannot be served or the workers
        do not start; what had been started is stopped then.
        """
        self._fleet.start()
        self._telling = asyncio.create_task(self._health.run(), name="health")
        starting = [
            asyncio.create_task(self.server.start(), name="start"),
            asyncio.create_task(self._fleet.up(), name="workers"),
        ]
        try:
            await asyncio.gather(*starting)
            await self._health.tell()
            await self._part.settled()
        except BaseException:
            for each in starting:
                each.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            await self.stop(grace_s=0)
            raise

    async def stop(self, grace_s: float) -> None:
        """Have every worker drain for up to `grace_s` seconds, and end."""
        await self._fleet.announce_drain()
        await self.server.stop(grace_s)
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        await self._fleet.close()

    def reread(self) -> None:
        """Read the model config file again soon, and serve what it says if that is new."""
        self.server.reread()

    # What workers ask. Nothing is answered that is not yet so in every one of them.

    async def _status(self, plain: Plain) -> Plain:
        spec = ModelSpec(plain["name"], plain["version"], plain["label"])
        call = StatusCall(spec=spec, context=CallContext(Door.INTERNAL))
        states = await self._part.managed.status(call)
        await self._part.settled()
        return values.states_to_plain(states)

    async def _models(self, _: Plain) -> Plain:
        models = await self._part.managed.models(CallContext(Door.INTERNAL))
        await self._part.settled()
        return {name: values.states_to_plain(states) for name, states in models.items()}

    async def _blockers(self, _: Plain) -> Plain:
        return list(await self._part.managed.blockers())

    async def _troubles(self, _: Plain) -> Plain:
        return await self._fleet.troubles()

    async def _reload(self, plain: Plain) -> None:
        wanted = ModelSet(tuple(map(values.model_from_plain, plain["models"])))
        await self._part.managed.reload(wanted, _context(plain).deadline)
        await self._part.settled()

    async def _listing(self, _: Plain) -> Plain:
        listing = await self._part.managed.listing(CallContext(Door.INTERNAL))
        await self._part.settled()
        return [values.managed_to_plain(model) for model in listing]

    async def _add(self, plain: Plain) -> Plain:
        model = values.model_from_plain(plain["model"])
        return await self._managed(await self._part.managed.load(model, _context(plain)))

    async def _remove(self, plain: Plain) -> None:
        await self._part.managed.unload(plain["name"], _context(plain))
        await self._part.settled()

    async def _load_again(self, plain: Plain) -> Plain:
        managed = await self._part.managed.load_again(plain["name"], _context(plain))
        return await self._managed(managed)

    async def _set_labels(self, plain: Plain) -> Plain:
        labelled = await self._part.managed.set_labels(
            plain["name"], plain["labels"], plain["removed"], _context(plain)
        )
        return await self._managed(labelled)

    async def _managed(self, model: ManagedModel) -> Plain:
        await self._part.settled()
        return values.managed_to_plain(model)

    async def _readings(self, _: Plain) -> Plain:
        own = await self._part.metrics.readings()
        return values.readings_to_plain(await self._fleet.readings(own))


def _context(plain: Plain) -> CallContext:
    """Return the context of a call that a worker passes on."""
    left_s = plain["within_s"]
    deadline = None if left_s is None else time.monotonic() + left_s
    return CallContext(Door.INTERNAL, deadline=deadline)


def share_of(config: ServerConfig, cpus: int) -> ServerConfig:
    """Return the configuration of one of `config.workers` workers on a machine with `cpus` CPUs.

    Each has its share of the threads and of what may be in flight. The order of loads and
    unloads, and whether they are tried again, is the supervisor's matter.
    """
    workers = config.workers
    own_cpus = -(-cpus // workers)
    execution, batching = config.execution, config.batching
    if batching is not None:
        num_threads = batching.choose_num_batch_threads(cpus)
        batching = dataclasses.replace(batching, num_batch_threads=-(-num_threads // workers))
    return dataclasses.replace(
        config,
        workers=1,
        config_file=None,
        models=ModelSet(),
        lifecycle=dataclasses.replace(
            config.lifecycle,
            transition=VersionTransition.AVAILABILITY_PRESERVING,
            max_num_load_retries=0,
        ),
        execution=dataclasses.replace(
            execution,
            runner_threads=execution.choose_runner_threads(own_cpus),
            load_threads=execution.choose_load_threads(own_cpus),
        ),
        batching=batching,
        max_in_flight_bytes=-(-config.max_in_flight_bytes // workers),
        max_concurrent_requests=-(-config.max_concurrent_requests // workers),
    )


class _Leading(Alone):
    """The supervisor's part in its model server."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._keys = itertools.count(1)
        self.entries: Entries
        self.managed: Administration
        self.metrics: Metrics

    async def settled(self) -> None:
        """Return when all that has been decided so far is so in every worker."""
        self.entries.refresh()
        await self._fleet.settled()

    def loaders(self, make_own: Callable[[], MakeLoader]) -> MakeLoader:
        """Return what loads a version into every worker, and nothing here."""

        def make_loader(id: ServableId, path: Path, revision: Revision) -> EverywhereLoader:
            order = Order(key=next(self._keys), id=id, path=str(path))
            return EverywhereLoader(order, revision, self._fleet, self.settled)

        return make_loader

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
        """Return the same as ever, and tell the workers of every change."""
        source, models = super().models(
            config=config,
            make_loader=make_loader,
            store=store,
            manager=manager,
            monitor=monitor,
            labels=labels,
            states=states,
        )
        self.entries = Entries(self._fleet.tell, manager, monitor, models, source)
        return source, models

    def management(self, management: Administration) -> Administration:
        """Return the same: what has been decided here holds for all workers."""
        self.managed = management
        return management

    def exposition(self, metrics: Metrics) -> Exposition:
        """Return what shows what was counted here; a worker shows it, with the rest."""
        self.metrics = metrics
        return metrics

    def ports(self, offload: Offload, budget: Budget) -> MakesPorts:
        """Return what makes ports that give their connections to the workers."""
        return _DispatchedPorts(self._fleet)


class _DispatchedPorts:
    """Makes ports at which the workers serve; the services of this process stay unused."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def readings(self) -> Iterable[Reading]:
        """Return what keeps this process from accepting; the workers count connections."""
        return accepting.readings([self._fleet.dispatcher.acceptor])

    def grpc(self, options: GrpcOptions, services: Services) -> Port:
        """Return the port of gRPC."""
        return self._port(handover.PortName.GRPC, grpc_addresses(options), options.tls)

    def http(
        self,
        options: HttpOptions,
        rest: RestApi,
        probes: Probes,
        services: Services,
        grpc: GrpcOptions | None = None,
    ) -> Port:
        """Return the port of everything else."""
        return self._port(handover.PortName.HTTP, http_addresses(options), options.tls)

    def admin(
        self,
        admin: AdminOptions,
        probes: Probes,
        services: Services,
        http: HttpOptions,
        grpc: GrpcOptions,
    ) -> Port:
        """Return the port of administration."""
        return self._port(handover.PortName.ADMIN, admin_addresses(admin), admin.tls)

    def _port(self, name: handover.PortName, where: list[Address], tls: TlsOptions | None) -> Port:
        check = _no_check if tls is None else functools.partial(tls_context, tls, CORES)
        return DispatchedPort(
            name,
            where,
            self._fleet.dispatcher,
            backlog=Limits().accept_backlog,
            check=check,
            drain=self._fleet.drain,
        )


def _no_check() -> None:
    """Find nothing wrong."""
