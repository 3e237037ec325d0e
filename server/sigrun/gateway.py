"""The HTTP application in front of servers upstream; a process without models and TensorFlow."""

from __future__ import annotations

import asyncio

from sigrun.concurrency.bodies import body_threads
from sigrun.config.gateway import GatewayConfig
from sigrun.telemetry.loop_lag import LoopLag
from sigrun.telemetry.metrics import Metrics
from sigrun.wire.http.port import http_port
from sigrun.wire.upstream import Upstream, UpstreamInference, UpstreamManagement


class Gateway:
    """A whole gateway. `start` it once, then `stop` it; all on the event loop that makes it."""

    def __init__(self, config: GatewayConfig) -> None:
        self._bodies = body_threads()
        self._loop_lag = LoopLag()
        self._watching: asyncio.Task[None] | None = None
        metrics = Metrics()
        for source in (self._loop_lag.readings, self._bodies.readings):
            metrics.add(source)
        self._upstream = Upstream(config.upstream)
        self._inference = UpstreamInference(self._upstream, bodies=self._bodies)
        self._management = UpstreamManagement(self._upstream)
        self.http = http_port(
            config.http,
            self._inference,
            self._management,
            self._upstream.services(),
            metrics,
            bodies=self._bodies,
        )

    async def start(self) -> None:
        """Listen, whether or not a server can be reached; `/readyz` says so.

        Raises `Unavailable` if the port cannot be had.
        """
        self._watching = asyncio.create_task(self._loop_lag.watch(), name="event loop")
        try:
            await self.http.start()
        except BaseException:
            await self.stop(grace_s=0)
            raise

    async def stop(self, grace_s: float) -> None:
        """Drain for up to `grace_s` seconds, then let go of the servers."""
        self._management.draining()
        await self.http.stop(grace_s)
        await self._inference.close()
        await self._upstream.close()
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.to_thread(self._bodies.close)
