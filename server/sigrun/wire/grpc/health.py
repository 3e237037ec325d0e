"""`grpc.health.v1.Health`, read from the real state of server and models.

Answers for "" (the whole server), for each service by its full name and by the short name
TensorFlow Serving uses, and for each model by the model's name. The servicer that comes
with grpcio-health-checking keeps a copy of the state, and forgets the other watchers of a
service when one of them leaves; this one asks `Readiness` each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import grpc
from grpc_health.v1 import health_pb2

from sigrun.errors import NotFound
from sigrun.servables.readiness import Readiness
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.unary import UnaryRpc

NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

Context = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
_Status = health_pb2.HealthCheckResponse


class HealthService:
    """Health of the server that `readiness` describes, serving `service_names`."""

    def __init__(self, readiness: Readiness, service_names: Collection[str]) -> None:
        short_names = (name.rpartition(".")[2] for name in service_names)
        self._readiness = readiness
        self._services = frozenset({"", *service_names, *short_names})
        self._changed = asyncio.Event()
        readiness.subscribe(self._wake_watchers)

    def methods(self) -> dict[str, UnaryRpc]:
        """Return the unary RPCs of the service by name."""
        return {"Check": MessageRpc(health_pb2.HealthCheckRequest, self.check)}

    async def check(
        self, request: health_pb2.HealthCheckRequest, deadline: float | None
    ) -> health_pb2.HealthCheckResponse:
        """Answer at once. Raises `NotFound` for a name that nobody here has."""
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise NotFound(f"No service or model is named {request.service!r}")
        return health_pb2.HealthCheckResponse(status=status)

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        try:
            return await self.check(request, None)
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        sent = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != sent:
                yield health_pb2.HealthCheckResponse(status=status)
                sent = status
            if self._readiness.is_draining:
                return  # the stream would be waited for until the end of the grace time
            await changed.wait()

    def _status(self, service: str) -> int:
        if service in self._services:
            is_serving = self._readiness.is_ready
        elif (is_available := self._readiness.models().get(service)) is not None:
            is_serving = is_available and not self._readiness.is_draining
        else:
            return int(_Status.SERVICE_UNKNOWN)
        return int(_Status.SERVING if is_serving else _Status.NOT_SERVING)

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
