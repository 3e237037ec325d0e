"""`tensorflow.serving.ModelService`."""

from __future__ import annotations

from sigrun._gen.tensorflow_serving.apis import model_service_pb2
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from sigrun._gen.tensorflow_serving.apis.model_management_pb2 import (
    Metric,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from sigrun.errors import PermissionDenied
from sigrun.inference.backend import Administration
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext
from sigrun.wire.config_files import model_config
from sigrun.wire.protobuf import codec
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.rpcs import Rpc

NAME = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name


class ModelService:
    """Status and reload; with a `refusal` no reload is made, and callers are told that text."""

    def __init__(self, management: Administration, *, refusal: str = "") -> None:
        self._management = management
        self._refusal = refusal

    def methods(self) -> dict[str, Rpc]:
        """Return the RPCs of the service by name."""
        return {
            "GetModelStatus": MessageRpc(GetModelStatusRequest, self.GetModelStatus),
            "HandleReloadConfigRequest": MessageRpc(
                ReloadConfigRequest, self.HandleReloadConfigRequest
            ),
        }

    async def GetModelStatus(
        self, request: GetModelStatusRequest, context: CallContext
    ) -> GetModelStatusResponse:
        call = StatusCall(spec=codec.target(request), context=context)
        return codec.status_response(await self._management.status(call))

    async def HandleReloadConfigRequest(
        self, request: ReloadConfigRequest, context: CallContext
    ) -> ReloadConfigResponse:
        if self._refusal:
            raise PermissionDenied(f"HandleReloadConfigRequest is {self._refusal}")
        await self._management.reload(model_config.from_reload(request.config), context.deadline)
        # No counter goes by TensorFlow Serving's slash-form names, and 0 is its answer for
        # a metric it does not know.
        return ReloadConfigResponse(
            status=codec.status_proto(None),
            metric=[Metric(name=name, int64_value_increase=0) for name in request.metric_names],
        )
