"""Build every part of a server, start and stop them in order: the only file that knows all.

Start: HTTP opens (alive, not ready), models load, gRPC opens, base paths and the config
file are followed. Stop: readiness goes off, both ports finish what they have, models are
unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sigrun.concurrency.aside import run_aside
from sigrun.concurrency.budget import Budget
from sigrun.concurrency.offload import Offload
from sigrun.config.lifecycle import LifecycleOptions, VersionTransition
from sigrun.config.models import PLATFORM_TENSORFLOW
from sigrun.config.server import ServerConfig
from sigrun.executors.profiler import Profiler, TraceOptions
from sigrun.executors.running import RunningModels
from sigrun.inference.backend import Administration, Inference
from sigrun.inference.management import ModelManagement
from sigrun.inference.observed import Observed
from sigrun.inference.router import Router
from sigrun.inference.service import InferenceService
from sigrun.loaders import Loaders
from sigrun.servables.config_poller import ConfigFilePoller
from sigrun.servables.file_source import FileSystemSource
from sigrun.servables.labels import VersionLabels
from sigrun.servables.load_metrics import LoadMetrics, ReloadMetrics, VersionMetrics
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.object_store import ObjectStore
from sigrun.servables.policy import (
    AspiredVersionPolicy,
    AvailabilityPreservingPolicy,
    ResourcePreservingPolicy,
)
from sigrun.servables.readiness import Health, Readiness
from sigrun.servables.source import MakeLoader, Source
from sigrun.servables.state import ServableState, State, StateStream
from sigrun.telemetry import logs
from sigrun.telemetry.loop_lag import LoopLag
from sigrun.telemetry.metrics import Exposition, Metrics
from sigrun.telemetry.process import ProcessMetrics
from sigrun.wire.access_log import AccessLog
from sigrun.wire.authentication import Authentication
from sigrun.wire.config_files import model_config
from sigrun.wire.interceptors import Interceptor, Interceptors, intercepted_services
from sigrun.wire.observing import Observing
from sigrun.wire.ports import MakesPorts, Port, Ports
from sigrun.wire.reloading import followed_certificates, followed_tokens
from sigrun.wire.request_log.logged import Logged
from sigrun.wire.request_log.writer import RequestLogWriter
from sigrun.wire.request_metrics import RequestMetrics
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.rpc import (
    health,
    model_management_service,
    model_service,
    prediction_service,
    profiler_service,
)
from sigrun.wire.rpc.health import HealthService
from sigrun.wire.rpc.profiler_service import ProfilerService
from sigrun.wire.rpc.reflection import reflection_services
from sigrun.wire.rpcs import Rpc, Services
from sigrun.wire.tracing import Tracing

if TYPE_CHECKING:
    from sigrun.telemetry.tracer import Tracer

logger = logging.getLogger(__name__)

# Whoever watches our health sends requests elsewhere from now on. Those that are on their way
# are still taken: gRPC would cut them off.
_NOTICE_S = 0.2
_REQUEST_LOG_WITHIN_S = 5.0  # to write what waits
_TRACES_WITHIN_S = 5.0  # to send what waits
_UNLOAD_WITHIN_S = 2.0  # when all requests have ended; what takes longer is left to the system


class Alone:
    """The part that a server plays which is all there is: it decides, loads, listens and answers.

    `sigrun.workers` has the parts of processes that are one server together.
    """

    def loaders(self, make_own: Callable[[], MakeLoader]) -> MakeLoader:
        """Return what loads versions; `make_own` makes what loads them into this process."""
        return make_own()

    def manager_states(self, states: StateStream) -> StateStream:
        """Return where the manager publishes; `states` is what everybody else listens to."""
        return states

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
        """Return what finds the versions of models, and the models that are served."""
        options = config.lifecycle
        source = FileSystemSource(
            loaders={PLATFORM_TENSORFLOW: make_loader},
            target=manager,
            states=monitor,
            poll_wait_s=options.poll_wait_s,
            quiet_s=options.quiet_s,
            store=store,
        )
        models = ServedModels(
            source=source,
            manager=manager,
            monitor=monitor,
            labels=labels,
            options=options,
            states=states,
        )
        return source, models

    def log_state(self, state: ServableState) -> None:
        """Say in the log what has become of a version."""
        if state.error is not None:
            logger.error("%s %s: %s", state.id, state.state.name, state.error)
        elif state.state is not State.START:
            logger.info("%s %s", state.id, state.state.name)

    def config_file(self, config: ServerConfig) -> Path | None:
        """Return the file to follow, if any."""
        return config.config_file

    def management(self, management: Administration) -> Administration:
        """Return what answers for the models as a set; `management` does for this process's."""
        return management

    def health(self, readiness: Readiness) -> Health:
        """Return what answers for the health of the server; `readiness` is this process's."""
        return readiness

    def exposition(self, metrics: Metrics) -> Exposition:
        """Return what shows what was counted; `metrics` is this process's."""
        return metrics

    def ports(self, offload: Offload, budget: Budget) -> MakesPorts:
        """Return what makes the ports."""
        return Ports(offload, budget=budget)


class ModelServer:
    """A whole server. `start` it once, then `stop` it; both on the same event loop.

    `make_loader` is for tests that need no TensorFlow; None loads SavedModels. With a `tracer`
    requests are traced; it is closed with the server. `part` is what differs where several
    processes are one server.
    """

    def __init__(
        self,
        config: ServerConfig,
        make_loader: MakeLoader | None = None,
        *,
        tracer: Tracer | None = None,
        part: Alone | None = None,
    ) -> None:
        self._tracer = tracer
        self._config = config
        self._part = part or Alone()
        self._tasks: list[asyncio.Task[None]] = []
        self.running = RunningModels()
        self._loop_lag = LoopLag()
        self._metrics = Metrics()
        self._metrics.add(self._loop_lag.readings)
        self._metrics.add(logs.readings)
        self._metrics.add_blocking(ProcessMetrics().readings)
        self._reloads = ReloadMetrics()
        self._metrics.add(self._reloads.readings)
        self._offload = Offload()
        self._store = ObjectStore()
        self._loaders = Loaders(config, self._metrics, self._offload, self.running)
        make_own = functools.partial(self._loaders.own, make_loader)
        make_loader = self._loaders.fetching(self._part.loaders(make_own), self._store)
        loads = LoadMetrics()
        self._metrics.add(loads.readings)
        self._build_servables(loads.around(make_loader))
        self._build_wire()
        self._poller = self._config_poller()

    def _build_servables(self, make_loader: MakeLoader) -> None:
        options = self._config.lifecycle
        self.states = states = StateStream()
        self.monitor = ServableStateMonitor()
        self.labels = VersionLabels(allow_unavailable=options.allow_labels_for_unavailable)
        self.manager = AspiredVersionsManager(
            policy=_policy(options), states=self._part.manager_states(states), options=options
        )
        self._source, self.models = self._part.models(
            config=self._config,
            make_loader=make_loader,
            store=self._store,
            manager=self.manager,
            monitor=self.monitor,
            labels=self.labels,
            states=states,
        )
        self._metrics.add(self._source.readings)
        self.models.expect(self._config.models)
        self.readiness = Readiness(self.models, self.monitor)
        versions = VersionMetrics(self.models, self.monitor, self.manager)
        self._source.subscribe(versions.look)
        self._metrics.add(versions.readings)
        for listener in (self.monitor.update, self.readiness.update, self._part.log_state):
            states.subscribe(listener)

    def _build_wire(self) -> None:
        config = self._config
        service = InferenceService(
            Router(self.manager, self.labels, self.models.absence),
            self._offload,
            check_method_names=config.check_method_names,
        )
        self._request_log = RequestLogWriter(config.request_log)
        self._metrics.add(self._request_log.readings)
        logged = Logged(service, self._request_log.put)
        self.models.subscribe(lambda: logged.follow(self.models.current))
        inference = Observed(logged)
        request_metrics = RequestMetrics()
        for source in (request_metrics.readings, self._offload.readings):
            self._metrics.add(source)
        access_log = [AccessLog(config.access_log_sampling_rate)] if config.access_log else []
        self._observing = Observing([request_metrics], in_rows=access_log)
        interceptors: list[Interceptor] = [self._observing]
        if self._tracer is not None:
            interceptors.insert(0, Tracing(self._tracer))
        self._management = self._part.management(
            ModelManagement(
                self.models,
                self.monitor,
                self.readiness,
                troubles=self.running.troubles,
                told=self._reloads.teller("call"),
            )
        )
        self._health = self._part.health(self.readiness)
        authentication = None if config.tokens is None else Authentication(config.tokens)
        guards: list[Interceptor] = [] if authentication is None else [authentication]
        interceptors += guards
        self.services = services = self._services(inference, interceptors)
        budget = Budget(config.max_in_flight_bytes, config.max_concurrent_requests)
        self._metrics.add(budget.readings)
        ports = self._part.ports(self._offload, budget)
        self._metrics.add(ports.readings)
        self.grpc = ports.grpc(config.grpc, {**services, **reflection_services(services)})
        probes = Probes(
            self._management,
            self._part.exposition(self._metrics),
            metrics_path=config.metrics_path,
            interceptors=guards,
        )
        self.admin: Port | None = None
        if config.admin is not None:
            rpcs = intercepted_services(self._admin_services(), interceptors)
            rpcs = {**rpcs, **reflection_services(rpcs)}
            self.admin = ports.admin(config.admin, probes, rpcs, config.http, config.grpc)
        self.http: Port | None = None
        if config.http.port is not None:
            rest = RestApi(
                inference,
                self._management,
                self._offload,
                timeout_s=config.http.timeout_s,
                as_content=config.grpc.outputs_as_tensor_content,
                interceptors=interceptors,
            )
            self.http = ports.http(config.http, rest, probes, services, config.grpc)
        admin_tls = None if config.admin is None else config.admin.tls
        self._followed = [
            *followed_certificates("gRPC", self.grpc, config.grpc.tls),
            *followed_certificates("HTTP", self.http, config.http.tls),
            *followed_certificates("administration", self.admin, admin_tls),
            *followed_tokens(config.auth_tokens_file, authentication),
        ]

    def _services(self, inference: Inference, interceptors: Interceptors) -> Services:
        """Return every service but reflection, which describes them."""
        options = self._config.grpc
        prediction = prediction_service.PredictionService(
            inference, self._offload, as_content=options.outputs_as_tensor_content
        )
        services: dict[str, Mapping[str, Rpc]] = {
            prediction_service.NAME: prediction.methods(),
            **self._model_services(_refusal(self._config)),
        }
        if options.enable_profiler:
            services[profiler_service.NAME] = self._profiler_service().methods()
        if options.enable_health:
            services[health.NAME] = HealthService(self._health, list(services)).methods()
        return intercepted_services(services, interceptors)

    def _admin_services(self) -> Services:
        """Return what is served where administration has an address of its own."""
        services = self._model_services("")
        known = [*services, prediction_service.NAME]
        return {**services, health.NAME: HealthService(self._health, known).methods()}

    def _model_services(self, refusal: str) -> dict[str, Mapping[str, Rpc]]:
        """Return the services that list and change the models; with a `refusal` they only list."""
        management = self._management
        return {
            model_service.NAME: model_service.ModelService(management, refusal=refusal).methods(),
            model_management_service.NAME: model_management_service.ModelManagementService(
                management, refusal=refusal
            ).methods(),
        }

    @staticmethod
    def _profiler_service() -> ProfilerService:
        profiler = Profiler()

        def trace(name: str, duration_s: float, levels: Mapping[str, int]) -> Awaitable[bytes]:
            return profiler.trace(name, TraceOptions(duration_s=duration_s, levels=levels))

        return ProfilerService(trace, profiler.end)

    async def start(self) -> None:
        """Return when the initial models are settled and every port is open.

        Raises a `SigrunError` if a port cannot be had or the models cannot be served; what
        had been started is stopped then.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(grace_s=0)
            raise

    async def _start(self) -> None:
        config = self._config
        self._run_in_background(self._loop_lag.watch(), "event loop")
        if self.admin is not None:
            await self.admin.start()
        if self.http is not None:
            await self.http.start()
        await self.models.start(config.models)
        await self.grpc.start()
        if self._poller is not None:
            self._run_in_background(self._poller.run(), "model config file")
        for followed in self._followed:
            self._run_in_background(followed.run(), followed.what)
        self.readiness.started()

    async def stop(self, grace_s: float) -> None:
        """Drain for up to `grace_s` seconds, then unload everything."""
        self.readiness.draining()
        await self._management.close()
        await self._source.close()
        await asyncio.sleep(min(grace_s, _NOTICE_S))
        servers = [server for server in (self.grpc, self.http, self.admin) if server is not None]
        await asyncio.gather(*(server.stop(grace_s) for server in servers))
        self._observing.tell_rows()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.manager.close(_UNLOAD_WITHIN_S)
        await asyncio.to_thread(self._offload.close)
        await asyncio.to_thread(self._request_log.close, _REQUEST_LOG_WITHIN_S)
        if self._tracer is not None:
            with contextlib.suppress(TimeoutError):
                await run_aside(self._tracer.close, name="traces", wait_s=_TRACES_WITHIN_S)
        await asyncio.to_thread(self._loaders.close)

    async def look_at_files(self) -> None:
        """Put in force at once what is new in the files of certificates and tokens."""
        await asyncio.gather(*(followed.look() for followed in self._followed))

    def reread(self) -> None:
        """Read the model config file again soon, and serve what it says if that is new."""
        if self._poller is None:
            logger.info("there is no model config file to read again")
        else:
            logger.info("reading the model config file again")
            self._poller.want()

    def _config_poller(self) -> ConfigFilePoller | None:
        file = self._part.config_file(self._config)
        if file is None:
            return None
        return ConfigFilePoller(
            read=functools.partial(model_config.from_changed_file, file),
            apply=self.models.reload,
            applied=self._config.models,
            poll_wait_s=self._config.config_file_poll_wait_s,
            told=self._reloads.teller("file"),
        )

    def _run_in_background(self, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))


def _refusal(config: ServerConfig) -> str:
    """Return what is said to those who would change the models on the ports for everybody."""
    if config.admin is not None:
        return "answered at the address of --admin_address alone"
    return "" if config.enable_admin else "turned off here (--enable_admin=false)"


def _policy(options: LifecycleOptions) -> AspiredVersionPolicy:
    if options.transition is VersionTransition.RESOURCE_PRESERVING:
        return ResourcePreservingPolicy()
    return AvailabilityPreservingPolicy()
