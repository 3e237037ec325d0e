"""The states of the models upstream, and whether there is a server to send traffic to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from grpc_health.v1 import health_pb2

from sigrun._gen.sigrun.v1 import model_management_pb2
from sigrun._gen.tensorflow_serving.apis import model_service_pb2
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from sigrun.errors import SigrunError, Unimplemented
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext, Door
from sigrun.servables.state import ServableState
from sigrun.wire.protobuf import client_codec, managed_models
from sigrun.wire.protobuf.parse import parse_answer
from sigrun.wire.upstream.channels import Upstream

_SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
_MANAGEMENT = model_management_pb2.DESCRIPTOR.services_by_name["ModelManagementService"].full_name

_HEALTH_TIMEOUT_S = 2.0


class UpstreamManagement:
    """`Management`, by `upstream`."""

    def __init__(self, upstream: Upstream) -> None:
        self._status = upstream.method(f"/{_SERVICE}/GetModelStatus")
        self._list = upstream.method(f"/{_MANAGEMENT}/ListModels")
        self._check = upstream.method("/grpc.health.v1.Health/Check")
        self._is_draining = False

    def draining(self) -> None:
        """Say that the gateway is about to stop."""
        self._is_draining = True

    async def status(self, call: StatusCall) -> Mapping[int, ServableState]:
        """Return the state of every version, or of the one that is named, as a server says it."""
        request = client_codec.status_request(call).SerializeToString()
        body = await self._status(request, call.context)
        return client_codec.states(call.spec.name, parse_answer(GetModelStatusResponse, body))

    async def models(self, context: CallContext) -> Mapping[str, Mapping[int, ServableState]]:
        """Return the states of the versions of every model, as a server says them.

        Raises `Unimplemented` where it cannot list them, as TensorFlow Serving cannot.
        """
        request = model_management_pb2.ListModelsRequest().SerializeToString()
        try:
            body = await self._list(request, context)
        except Unimplemented:
            raise Unimplemented(
                "The server upstream cannot list its models: TensorFlow Serving's protocol has no "
                "way to. Ask for a model by its name."
            ) from None
        return managed_models.states(parse_answer(model_management_pb2.ListModelsResponse, body))

    async def blockers(self) -> Sequence[str]:
        """Return what keeps traffic from being sent here: no server that can be reached serves."""
        if self._is_draining:
            return ["the gateway is draining"]
        request = health_pb2.HealthCheckRequest().SerializeToString()
        context = CallContext(Door.INTERNAL, deadline=time.monotonic() + _HEALTH_TIMEOUT_S)
        try:
            body = await self._check(request, context)
        except Unimplemented:  # reached, and has no health service
            return []
        except SigrunError as error:
            return [f"no server upstream can be asked: {error}"]
        answer = parse_answer(health_pb2.HealthCheckResponse, body)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            return ["the server upstream is not ready"]
        return []

    async def troubles(self) -> Sequence[str]:
        """Return nothing: a server upstream tells it itself, in the status of its models."""
        return []
