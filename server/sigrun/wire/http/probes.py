"""What orchestrators ask: is the process alive, and may it be sent requests."""

from __future__ import annotations

from sigrun.inference.backend import Management
from sigrun.wire.http.messages import Handler, HttpRequest, HttpResponse, json_response


class Probes:
    """`/livez` and `/readyz`."""

    def __init__(self, management: Management) -> None:
        self._management = management

    def handlers(self) -> dict[str, Handler]:
        """Return what answers, by path."""
        return {"/livez": self.livez, "/readyz": self.readyz}

    async def livez(self, _: HttpRequest) -> HttpResponse:
        """Answer that the process is alive, whatever it is busy with."""
        return json_response({"status": "alive"})

    async def readyz(self, _: HttpRequest) -> HttpResponse:
        """Answer 200 if every model can be asked, or 503 and what is in the way."""
        blockers = await self._management.blockers()
        if blockers:
            return json_response({"status": "not ready", "reasons": blockers}, status=503)
        return json_response({"status": "ready"})
