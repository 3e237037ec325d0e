"""Inference by servers upstream: write the request, send it, read the answer.

What the servers check is left to them, so that their texts are what callers see; here a
request is only brought into the dtypes of its signature.
"""

from __future__ import annotations

from collections.abc import Mapping

from sigrun._gen.tensorflow_serving.apis import prediction_service_pb2
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import MultiInferenceResponse
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
)
from sigrun.concurrency.offload import Offload
from sigrun.errors import FailedPrecondition, InvalidArgument, NotFound
from sigrun.inference import checks
from sigrun.inference.binding import bound_inputs
from sigrun.inference.calls import (
    METADATA_FIELD,
    ClassifyResult,
    ExamplesCall,
    MetadataCall,
    MetadataResult,
    ModelSpec,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
)
from sigrun.inference.context import CallContext, Door
from sigrun.tensors.signature import Array
from sigrun.wire.protobuf import client_codec, predict_reader, predict_writer
from sigrun.wire.protobuf.parse import parse_answer
from sigrun.wire.upstream.channels import Upstream
from sigrun.wire.upstream.signatures import Signatures, agree

_SERVICE = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name

# What may be refused only because a version has changed since its signatures were fetched.
_REFUSED = (InvalidArgument, FailedPrecondition, NotFound)


class UpstreamInference:
    """`Inference`, by `upstream`. Large bodies go to the threads of `offload`."""

    def __init__(self, upstream: Upstream, offload: Offload) -> None:
        self._predict = upstream.method(f"/{_SERVICE}/Predict")
        self._classify = upstream.method(f"/{_SERVICE}/Classify")
        self._regress = upstream.method(f"/{_SERVICE}/Regress")
        self._multi_inference = upstream.method(f"/{_SERVICE}/MultiInference")
        self._metadata = upstream.method(f"/{_SERVICE}/GetModelMetadata")
        self._signatures = Signatures(self._fetch_signatures)
        self._offload = offload

    async def close(self) -> None:
        """Give up what is under way for nobody in particular."""
        await self._signatures.close()

    async def predict(self, call: PredictCall) -> PredictResult:
        """Run a signature on tensors."""
        known = self._signatures.known(call.spec)
        if known is None:
            fetched = await self._signatures.fetch(call.spec, call.context.deadline)
            return await self._predict_with(fetched, call)
        try:
            return await self._predict_with(known, call)
        except _REFUSED:
            fetched = await self._signatures.fetch(call.spec, call.context.deadline)
            if agree(fetched, known):
                raise
        return await self._predict_with(fetched, call)

    def predict_inline(self, call: PredictCall) -> None:
        """Leave it to `predict`: a server upstream is always waited for."""

    async def _predict_with(self, known: MetadataResult, call: PredictCall) -> PredictResult:
        spec = call.spec
        signature = checks.predict_signature(
            known.signatures, spec.signature_name, check_method=False
        )
        inputs = await bound_inputs(call, signature, self._offload)
        body = await self._write(call, inputs)
        result = await self._read(await self._predict(body, call.context), call.context)
        if result.spec.version != known.spec.version:
            self._signatures.moved(spec, result.spec.version)
        return result

    async def _write(self, call: PredictCall, inputs: Mapping[str, Array]) -> bytes:
        return await self._offload.run(
            lambda _: predict_writer.predict_request(call.spec, inputs, call.output_filter),
            cost_s=predict_writer.cost_s(inputs.values(), as_content=True),
            deadline=call.context.deadline,
        )

    async def _read(self, body: bytes, context: CallContext) -> PredictResult:
        result = predict_reader.fast_predict_result(body)
        if result is None:
            result = await self._offload.run(
                lambda _: predict_reader.predict_result(body),
                cost_s=predict_reader.cost_s(body),
                deadline=context.deadline,
            )
        return result

    async def classify(self, call: ExamplesCall) -> ClassifyResult:
        """Return the classes of each example."""
        request = client_codec.examples_request(ClassificationRequest, call)
        body = await self._classify(request, call.context)
        return client_codec.classify_result(parse_answer(ClassificationResponse, body))

    async def regress(self, call: ExamplesCall) -> RegressResult:
        """Return one value for each example."""
        request = client_codec.examples_request(RegressionRequest, call)
        body = await self._regress(request, call.context)
        return client_codec.regress_result(parse_answer(RegressionResponse, body))

    async def multi_inference(self, call: MultiInferenceCall) -> MultiInferenceResult:
        """Run several signatures of one model on the same examples, as one run."""
        request = client_codec.multi_inference_request(call).SerializeToString()
        body = await self._multi_inference(request, call.context)
        return client_codec.multi_inference_result(parse_answer(MultiInferenceResponse, body))

    async def metadata(self, call: MetadataCall) -> MetadataResult:
        """Return the signatures of a model, as a server says them now."""
        request = client_codec.metadata_request(call).SerializeToString()
        body = await self._metadata(request, call.context)
        return client_codec.metadata_result(parse_answer(GetModelMetadataResponse, body))

    async def _fetch_signatures(self, spec: ModelSpec, deadline: float) -> MetadataResult:
        context = CallContext(Door.INTERNAL, deadline=deadline)
        call = MetadataCall(spec=spec, fields=(METADATA_FIELD,), context=context)
        return await self.metadata(call)
