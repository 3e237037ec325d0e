"""`grpc.health.v1.Health`, read from the real state of server and models.

Answers for "" (the whole server), for each service by its full name and by the short name
TensorFlow Serving uses, and for each model by the model's name. The servicer that comes
with grpcio-health-checking keeps a copy of the state, and forgets the other watchers of a
service when one of them leaves; this one asks `Health` each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

from grpc_health.v1 import health_pb2

from sigrun.errors import NotFound
from sigrun.inference.context import CallContext
from sigrun.servables.readiness import Health
from sigrun.wire.protobuf.parse import parse
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.rpcs import Rpc, StreamRpc

NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

# `List` came to the contract later than the other two; older releases of grpcio-health-checking,
# which are allowed, have no messages for it, and reflection then does not show it either.
_HAS_LIST = hasattr(health_pb2, "HealthListRequest")

_Status = health_pb2.HealthCheckResponse


class HealthService:
    """Answers with the `health` of a server that serves `service_names`."""

    def __init__(self, health: Health, service_names: Collection[str]) -> None:
        short_names = (name.rpartition(".")[2] for name in service_names)
        self._health = health
        self._services = frozenset({"", *service_names, *short_names})
        self._changed = asyncio.Event()
        health.subscribe(self._wake_watchers)

    def methods(self) -> dict[str, Rpc]:
        """Return the RPCs of the service by name."""
        methods: dict[str, Rpc] = {
            "Check": MessageRpc(health_pb2.HealthCheckRequest, self.Check),
            "Watch": StreamRpc(self.Watch),
        }
        if _HAS_LIST:
            methods["List"] = MessageRpc(health_pb2.HealthListRequest, self.List)
        return methods

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: CallContext
    ) -> health_pb2.HealthCheckResponse:
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise NotFound(f"No service or model is named {request.service!r}")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(
        self, request: health_pb2.HealthListRequest, context: CallContext
    ) -> health_pb2.HealthListResponse:
        statuses = {
            name: health_pb2.HealthCheckResponse(status=self._status(name))
            for name in (*self._services, *self._health.models())
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(
        self, requests: AsyncIterator[bytes], context: CallContext
    ) -> AsyncIterator[bytes]:
        request = parse(health_pb2.HealthCheckRequest, await anext(requests, b""))
        sent = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != sent:
                yield health_pb2.HealthCheckResponse(status=status).SerializeToString()
                sent = status
            if self._health.is_draining:
                return  # the stream would be waited for until the end of the grace time
            await changed.wait()

    def _status(self, service: str) -> int:
        if service in self._services:
            is_serving = self._health.is_ready
        elif (is_available := self._health.models().get(service)) is not None:
            is_serving = is_available and not self._health.is_draining
        else:
            return int(_Status.SERVICE_UNKNOWN)
        return int(_Status.SERVING if is_serving else _Status.NOT_SERVING)

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
