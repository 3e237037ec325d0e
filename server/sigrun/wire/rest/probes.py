"""What operators ask: is the process alive, may it be sent requests, and how does it fare."""

from __future__ import annotations

from sigrun.inference.backend import Management
from sigrun.telemetry.metrics import CONTENT_TYPE, Metrics
from sigrun.wire.http.messages import Handler, HttpRequest, HttpResponse, json_response


class Probes:
    """`/livez`, `/readyz` and `/metrics`."""

    def __init__(self, management: Management, metrics: Metrics) -> None:
        self._management = management
        self._metrics = metrics

    def handlers(self) -> dict[str, Handler]:
        """Return what answers, by path."""
        return {"/livez": self.livez, "/readyz": self.readyz, "/metrics": self.metrics}

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

    async def metrics(self, _: HttpRequest) -> HttpResponse:
        """Answer what was counted, for Prometheus."""
        return HttpResponse(body=self._metrics.text(), content_type=CONTENT_TYPE)
