"""`tensorflow.serving.PredictionService`: each RPC reads, calls, writes."""

from __future__ import annotations

from sigrun._gen.tensorflow_serving.apis import prediction_service_pb2
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import (
    MultiInferenceRequest,
    MultiInferenceResponse,
)
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
)
from sigrun.concurrency.offload import Offload
from sigrun.inference.backend import Inference
from sigrun.inference.context import CallContext
from sigrun.wire.protobuf import codec, predict_reader, predict_writer
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.rpcs import Rpc

NAME = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name


class PredictionService:
    """Inference by RPC. With `as_content`, outputs go into `tensor_content`.

    Predict is the hot one, and is read and written without a message where it can be.
    """

    def __init__(self, inference: Inference, offload: Offload, *, as_content: bool = False) -> None:
        self._inference = inference
        self._offload = offload
        self._as_content = as_content

    def methods(self) -> dict[str, Rpc]:
        """Return the RPCs of the service by name."""
        return {
            "Predict": self.Predict,
            "Classify": MessageRpc(ClassificationRequest, self.Classify),
            "Regress": MessageRpc(RegressionRequest, self.Regress),
            "MultiInference": MessageRpc(MultiInferenceRequest, self.MultiInference),
            "GetModelMetadata": MessageRpc(GetModelMetadataRequest, self.GetModelMetadata),
        }

    async def Predict(self, body: bytes, context: CallContext) -> bytes:
        call = predict_reader.fast_predict_call(body, context)
        if call is None:
            call = await self._offload.run(
                lambda _: predict_reader.predict_call(body, context),
                cost_s=predict_reader.cost_s(body),
                deadline=context.deadline,
            )
        result = self._inference.predict_inline(call)
        if result is None:
            result = await self._inference.predict(call)
        as_content = self._as_content
        reply = predict_writer.small_predict_response(result, as_content=as_content)
        if reply is not None:
            return reply
        cost_s = predict_writer.cost_s(result.outputs.values(), as_content=as_content)
        if self._offload.is_short(cost_s):
            return predict_writer.predict_response(result, as_content=as_content)
        return await self._offload.run(
            lambda _: predict_writer.predict_response(result, as_content=as_content),
            cost_s=cost_s,
            deadline=context.deadline,
        )

    async def Classify(
        self, request: ClassificationRequest, context: CallContext
    ) -> ClassificationResponse:
        result = await self._inference.classify(codec.examples_call(request, context))
        return codec.classification_response(result)

    async def Regress(self, request: RegressionRequest, context: CallContext) -> RegressionResponse:
        result = await self._inference.regress(codec.examples_call(request, context))
        return codec.regression_response(result)

    async def MultiInference(
        self, request: MultiInferenceRequest, context: CallContext
    ) -> MultiInferenceResponse:
        call = codec.multi_inference_call(request, context)
        return codec.multi_inference_response(await self._inference.multi_inference(call))

    async def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: CallContext
    ) -> GetModelMetadataResponse:
        result = await self._inference.metadata(codec.metadata_call(request, context))
        return codec.metadata_response(result)
