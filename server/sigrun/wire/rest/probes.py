"""What operators ask: is the process alive, may it be sent requests, and how does it fare."""

from __future__ import annotations

from sigrun.inference.backend import Management
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import CONTENT_TYPE, Metrics
from sigrun.wire.http.messages import Handler, HttpRequest, HttpResponse, json_response
from sigrun.wire.interceptors import Interceptors, intercepted


class Probes:
    """`/livez`, `/readyz` and `/metrics`; `interceptors` are around the last alone."""

    def __init__(
        self, management: Management, metrics: Metrics, interceptors: Interceptors = ()
    ) -> None:
        self._management = management
        self._metrics = metrics
        self._page = intercepted("/metrics", self._write_metrics, interceptors)

    def handlers(self) -> dict[str, Handler]:
        """Return what answers, by path."""
        return {"/livez": self.livez, "/readyz": self.readyz, "/metrics": self.metrics}

    async def livez(self, _: HttpRequest) -> HttpResponse:
        """Answer that the process is alive, whatever it is busy with."""
        return json_response({"status": "alive"})

    async def readyz(self, _: HttpRequest) -> HttpResponse:
        """Answer 200 if every model can be asked, or 503 and what is in the way."""
        blockers = await self._management.blockers()
        if blockers:
            return json_response({"status": "not ready", "reasons": blockers}, status=503)
        return json_response({"status": "ready"})

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        """Answer what was counted, for Prometheus."""
        return await self._page(request, request.context(Door.REST, None))

    async def _write_metrics(self, _request: HttpRequest, _context: CallContext) -> HttpResponse:
        return HttpResponse(body=self._metrics.text(), content_type=CONTENT_TYPE)
