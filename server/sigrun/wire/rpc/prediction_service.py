"""`tensorflow.serving.PredictionService`."""

from __future__ import annotations

import functools

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
from sigrun.concurrency.threads import Threads
from sigrun.inference.service import InferenceService
from sigrun.wire.protobuf import codec, predict_reader, predict_writer
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.unary import UnaryRpc

NAME = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name


class PredictionService:
    """Inference over gRPC. With `as_content`, outputs go into `tensor_content`.

    Bodies that take long to read or write are left to the threads of `bodies`.
    """

    def __init__(
        self, inference: InferenceService, *, bodies: Threads, as_content: bool = False
    ) -> None:
        self._inference = inference
        self._bodies = bodies
        self._as_content = as_content

    def methods(self) -> dict[str, UnaryRpc]:
        """Return the RPCs of the service by name."""
        return {
            "Predict": self.Predict,
            "Classify": MessageRpc(ClassificationRequest, self.Classify),
            "Regress": MessageRpc(RegressionRequest, self.Regress),
            "MultiInference": MessageRpc(MultiInferenceRequest, self.MultiInference),
            "GetModelMetadata": MessageRpc(GetModelMetadataRequest, self.GetModelMetadata),
        }

    async def Predict(self, body: bytes, deadline: float | None) -> bytes:
        call = predict_reader.quick_predict_call(body, deadline)
        if call is None:
            call = await self._bodies.run(predict_reader.predict_call, body, deadline)
        result = await self._inference.predict(call)
        write = functools.partial(
            predict_writer.predict_response, result, as_content=self._as_content
        )
        if predict_writer.takes_long(result, as_content=self._as_content):
            return await self._bodies.run(write)
        return write()

    async def Classify(
        self, request: ClassificationRequest, deadline: float | None
    ) -> ClassificationResponse:
        result = await self._inference.classify(codec.examples_call(request, deadline))
        return codec.classification_response(result)

    async def Regress(
        self, request: RegressionRequest, deadline: float | None
    ) -> RegressionResponse:
        result = await self._inference.regress(codec.examples_call(request, deadline))
        return codec.regression_response(result)

    async def MultiInference(
        self, request: MultiInferenceRequest, deadline: float | None
    ) -> MultiInferenceResponse:
        call = codec.multi_inference_call(request, deadline)
        return codec.multi_inference_response(await self._inference.multi_inference(call))

    async def GetModelMetadata(
        self, request: GetModelMetadataRequest, deadline: float | None
    ) -> GetModelMetadataResponse:
        result = await self._inference.metadata(codec.metadata_call(request, deadline))
        return codec.metadata_response(result)
