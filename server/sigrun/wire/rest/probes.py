"""What operators ask: is the process alive, may it be sent requests, and how does it fare."""

from __future__ import annotations

import re

from sigrun.errors import InvalidArgument
from sigrun.inference.backend import Management
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import CONTENT_TYPE, Exposition
from sigrun.wire.http.messages import (
    Handler,
    HttpRequest,
    HttpResponse,
    first_part,
    json_response,
)
from sigrun.wire.interceptors import Interceptors, intercepted

_OTHERS = re.compile(r"/(v1|livez|readyz|(tensorflow|sigrun|grpc)\..*)(/.*)?", re.IGNORECASE)


class Probes:
    """`/livez`, `/readyz` and `/metrics`; `metrics_path` is another one for the last.

    `interceptors` are around metrics alone. Raises `InvalidArgument` if something else is served
    at `metrics_path`.
    """

    def __init__(
        self,
        management: Management,
        metrics: Exposition,
        *,
        metrics_path: str = "",
        interceptors: Interceptors = (),
    ) -> None:
        if _OTHERS.fullmatch(metrics_path):
            raise InvalidArgument(
                f"Metrics cannot be shown at {metrics_path}: something else is served there"
            )
        self._management = management
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._page = intercepted("/metrics", self._write_metrics, interceptors)

    def handlers(self) -> dict[str, Handler]:
        """Return what answers, by path, or by the first part of one."""
        handlers: dict[str, Handler] = {"/livez": self.livez, "/readyz": self.readyz}
        if self._metrics_path:
            handlers[first_part(self._metrics_path)] = self.metrics_at_path
        return {**handlers, "/metrics": self.metrics}

    async def livez(self, _: HttpRequest) -> HttpResponse:
        """Answer that the process is alive, whatever it is busy with."""
        return json_response({"status": "alive"})

    async def readyz(self, _: HttpRequest) -> HttpResponse:
        """Answer 200 if every model can be asked, or 503 and what is in the way.

        A version with which something is wrong does not take the others out of service; 200 says
        what it is.
        """
        blockers = await self._management.blockers()
        if blockers:
            return json_response({"status": "not ready", "reasons": blockers}, status=503)
        troubles = await self._management.troubles()
        return json_response({"status": "ready"} | ({"troubles": troubles} if troubles else {}))

    async def metrics_at_path(self, request: HttpRequest) -> HttpResponse:
        """Answer the same at the other path, and as TensorFlow Serving for one below or beside."""
        if request.target != self._metrics_path:
            raise InvalidArgument(
                f"Unexpected path: {request.target}. Should be {self._metrics_path}"
            )
        return await self.metrics(request)

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        """Answer what was counted, for Prometheus."""
        return await self._page(request, request.context(Door.REST, None))

    async def _write_metrics(self, _request: HttpRequest, _context: CallContext) -> HttpResponse:
        return HttpResponse(body=await self._metrics.page(), content_type=CONTENT_TYPE)
