"""`sigrun.v1.ModelManagementService`: models listed, and changed one by one."""

from __future__ import annotations

from sigrun._gen.sigrun.v1 import model_management_pb2 as pb
from sigrun.errors import PermissionDenied
from sigrun.inference.backend import Administration
from sigrun.inference.context import CallContext
from sigrun.wire.protobuf import managed_models
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.rpcs import Rpc

NAME = pb.DESCRIPTOR.services_by_name["ModelManagementService"].full_name


class ModelManagementService:
    """The RPCs; with a `refusal` no change is made, and callers are told that text."""

    def __init__(self, management: Administration, *, refusal: str = "") -> None:
        self._management = management
        self._refusal = refusal

    def methods(self) -> dict[str, Rpc]:
        """Return the RPCs of the service by name."""
        return {
            "ListModels": MessageRpc(pb.ListModelsRequest, self.ListModels),
            "LoadModel": MessageRpc(pb.LoadModelRequest, self.LoadModel),
            "UnloadModel": MessageRpc(pb.UnloadModelRequest, self.UnloadModel),
            "ReloadModel": MessageRpc(pb.ReloadModelRequest, self.ReloadModel),
            "SetLabels": MessageRpc(pb.SetLabelsRequest, self.SetLabels),
        }

    async def ListModels(
        self, request: pb.ListModelsRequest, context: CallContext
    ) -> pb.ListModelsResponse:
        listing = await self._management.listing(context)
        return pb.ListModelsResponse(models=map(managed_models.model, listing))

    async def LoadModel(
        self, request: pb.LoadModelRequest, context: CallContext
    ) -> pb.LoadModelResponse:
        self._check("LoadModel")
        model = managed_models.model_config(request.config)
        loaded = await self._management.load(model, context)
        return pb.LoadModelResponse(model=managed_models.model(loaded))

    async def UnloadModel(
        self, request: pb.UnloadModelRequest, context: CallContext
    ) -> pb.UnloadModelResponse:
        self._check("UnloadModel")
        await self._management.unload(request.name, context)
        return pb.UnloadModelResponse()

    async def ReloadModel(
        self, request: pb.ReloadModelRequest, context: CallContext
    ) -> pb.ReloadModelResponse:
        self._check("ReloadModel")
        loaded = await self._management.load_again(request.name, context)
        return pb.ReloadModelResponse(model=managed_models.model(loaded))

    async def SetLabels(
        self, request: pb.SetLabelsRequest, context: CallContext
    ) -> pb.SetLabelsResponse:
        self._check("SetLabels")
        labelled = await self._management.set_labels(
            request.name, dict(request.version_labels), list(request.removed_labels), context
        )
        return pb.SetLabelsResponse(model=managed_models.model(labelled))

    def _check(self, method: str) -> None:
        if self._refusal:
            raise PermissionDenied(f"{method} is {self._refusal}")
