"""`tensorflow.serving.PredictionService`."""

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
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
)
from sigrun.inference.service import InferenceService
from sigrun.wire import codec
from sigrun.wire.grpc.handlers import Method

NAME = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name


class PredictionService:
    """Inference over gRPC. With `as_content`, outputs go into `tensor_content`."""

    def __init__(self, inference: InferenceService, *, as_content: bool = False) -> None:
        self._inference = inference
        self._as_content = as_content

    def methods(self) -> dict[str, Method]:  # type: ignore[type-arg]  # each has its own types
        """Return the RPCs of the service by name."""
        return {
            "Predict": Method(PredictRequest, self.Predict),
            "Classify": Method(ClassificationRequest, self.Classify),
            "Regress": Method(RegressionRequest, self.Regress),
            "MultiInference": Method(MultiInferenceRequest, self.MultiInference),
            "GetModelMetadata": Method(GetModelMetadataRequest, self.GetModelMetadata),
        }

    async def Predict(self, request: PredictRequest, deadline: float | None) -> PredictResponse:
        result = await self._inference.predict(codec.predict_call(request, deadline))
        return codec.predict_response(result, as_content=self._as_content)

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
        result = await self._inference.metadata(codec.metadata_call(request))
        return codec.metadata_response(result)
