"""The HTTP application in front of servers upstream; a process without models and TensorFlow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from sigrun.concurrency.aside import run_aside
from sigrun.concurrency.budget import Budget
from sigrun.concurrency.offload import Offload
from sigrun.config.gateway import GatewayConfig
from sigrun.inference.observed import Observed
from sigrun.telemetry import logs
from sigrun.telemetry.loop_lag import LoopLag
from sigrun.telemetry.metrics import Metrics
from sigrun.telemetry.process import ProcessMetrics
from sigrun.wire.authentication import Authentication
from sigrun.wire.interceptors import Interceptor, intercepted_services
from sigrun.wire.observing import Observing
from sigrun.wire.ports import Ports
from sigrun.wire.reloading import followed_certificates, followed_tokens
from sigrun.wire.request_metrics import RequestMetrics
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.tracing import Tracing
from sigrun.wire.upstream import (
    Upstream,
    UpstreamInference,
    UpstreamManagement,
    check_tls,
    followed_upstream,
)

if TYPE_CHECKING:
    from sigrun.telemetry.tracer import Tracer

logger = logging.getLogger(__name__)

_TRACES_WITHIN_S = 5.0  # to send what waits


class Gateway:
    """A whole gateway. `start` it once, then `stop` it; all on the event loop that makes it.

    With a `tracer` requests are traced; it is closed with the gateway.
    """

    def __init__(self, config: GatewayConfig, *, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._offload = Offload()
        self._loop_lag = LoopLag()
        self._tasks: list[asyncio.Task[None]] = []
        metrics = Metrics()
        metrics.add_blocking(ProcessMetrics().readings)
        budget = Budget(config.max_in_flight_bytes, config.max_concurrent_requests)
        for source in (
            self._loop_lag.readings,
            self._offload.readings,
            budget.readings,
            logs.readings,
        ):
            metrics.add(source)
        request_metrics = RequestMetrics()
        metrics.add(request_metrics.readings)
        authentication = None if config.tokens is None else Authentication(config.tokens)
        guards: list[Interceptor] = [] if authentication is None else [authentication]
        interceptors: list[Interceptor] = [Observing([request_metrics]), *guards]
        if self._tracer is not None:
            interceptors.insert(0, Tracing(self._tracer, passes_on=True))
        self._upstream = Upstream(config.upstream)
        self._tls = config.upstream.tls
        self._inference = UpstreamInference(self._upstream, self._offload)
        observed = Observed(self._inference)
        self._management = UpstreamManagement(self._upstream)
        rest = RestApi(
            observed,
            self._management,
            self._offload,
            timeout_s=config.http.timeout_s,
            interceptors=interceptors,
        )
        probes = Probes(self._management, metrics, interceptors=guards)
        services = intercepted_services(self._upstream.services(), interceptors)
        ports = Ports(self._offload, budget=budget, in_tasks=True)
        metrics.add(ports.readings)
        self.http = ports.http(config.http, rest, probes, services)
        self._is_open = bool(config.upstream.token) and authentication is None
        self._followed = [
            *followed_certificates("HTTP", self.http, config.http.tls),
            *followed_tokens(config.auth_tokens_file, authentication),
            *followed_upstream(self._upstream, config.upstream),
        ]

    async def start(self) -> None:
        """Listen, whether or not a server can be reached; `/readyz` says so.

        Raises `Unavailable` if the port cannot be had, `InvalidArgument` for certificates that
        cannot be used.
        """
        self._tasks.append(asyncio.create_task(self._loop_lag.watch(), name="event loop"))
        if self._is_open:
            logger.warning(
                "--upstream_token_file without --auth_tokens_file: whoever reaches this gateway "
                "may do at the servers what that token may"
            )
        for followed in self._followed:
            self._tasks.append(asyncio.create_task(followed.run(), name=followed.what))
        try:
            await check_tls(self._tls)
            await self.http.start()
        except BaseException:
            await self.stop(grace_s=0)
            raise

    def reread(self) -> None:
        """Do nothing: the files that a gateway follows are looked at every second anyway."""

    async def look_at_files(self) -> None:
        """Put in force at once what is new in the files of certificates and tokens."""
        await asyncio.gather(*(followed.look() for followed in self._followed))

    async def stop(self, grace_s: float) -> None:
        """Drain for up to `grace_s` seconds, then let go of the servers."""
        self._management.draining()
        await self.http.stop(grace_s)
        await self._inference.close()
        await self._upstream.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._offload.close)
        if self._tracer is not None:
            with contextlib.suppress(TimeoutError):
                await run_aside(self._tracer.close, name="traces", wait_s=_TRACES_WITHIN_S)
