"""Calls -> requests and responses -> results: what `codec` does, as a client needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sigrun._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import (
    InferenceResult,
    MultiInferenceRequest,
    MultiInferenceResponse,
)
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import InferenceTask as InferenceTaskProto
from sigrun._gen.tensorflow_serving.apis.input_pb2 import Input
from sigrun._gen.tensorflow_serving.apis.internal.serialized_input_pb2 import (
    SerializedExampleList,
    SerializedInput,
)
from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec as ModelSpecProto
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
)
from sigrun._gen.tensorflow_serving.apis.status_pb2 import StatusProto
from sigrun.errors import Internal, SigrunError, error_for
from sigrun.inference.calls import (
    METADATA_FIELD,
    Classifications,
    ClassifyResult,
    ExamplesCall,
    MetadataCall,
    MetadataResult,
    ModelSpec,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictResult,
    RegressResult,
    ResolvedSpec,
    StatusCall,
)
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State
from sigrun.tensors.signature import Array, Signature
from sigrun.tensors.signature_defs import read_specs
from sigrun.wire.protobuf import codec, tensors, wire_format
from sigrun.wire.protobuf.parse import parse_answer

_ExamplesRequest = ClassificationRequest | RegressionRequest


def model_spec(spec: ModelSpec) -> ModelSpecProto:
    """Return a model spec as a message."""
    message = ModelSpecProto(name=spec.name, signature_name=spec.signature_name)
    if spec.version is not None:
        message.version.value = spec.version
    elif spec.label is not None:
        message.version_label = spec.label
    return message


def resolved(spec: ModelSpec) -> ResolvedSpec:
    """Return the spec of an answer; version 0 if the server does not name one."""
    return ResolvedSpec(
        name=spec.name, version=spec.version or 0, signature_name=spec.signature_name
    )


def predict_request(
    spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str]
) -> PredictRequest:
    """Write a request: strings one by one, all else as content."""
    request = PredictRequest(model_spec=model_spec(spec), output_filter=output_filter)
    for alias, array in inputs.items():
        as_content = array.dtype != object
        request.inputs[alias].CopyFrom(tensors.encode(array, as_content=as_content))
    return request


def predict_result(response: PredictResponse) -> PredictResult:
    """Read the answer to Predict. Raises `Internal` for a tensor that does not decode."""
    try:
        outputs = {alias: tensors.decode(alias, proto) for alias, proto in response.outputs.items()}
    except SigrunError as error:
        raise Internal(f"The server upstream answered with a broken tensor: {error}") from None
    return PredictResult(spec=_resolved(response.model_spec), outputs=outputs)


def examples_request(kind: type[_ExamplesRequest], call: ExamplesCall) -> bytes:
    """Write a Classify or Regress request; the examples, serialized already, stay as they are."""
    head = kind(model_spec=model_spec(call.spec)).SerializeToString()
    examples = SerializedExampleList(examples=call.examples.tolist())
    body = SerializedInput(example_list=examples).SerializeToString()
    return b"".join((head, wire_format.tag(kind, "input"), wire_format.varint(len(body)), body))


def classify_result(response: ClassificationResponse) -> ClassifyResult:
    """Read the answer to Classify. Raises `Internal` unless each example has as many classes."""
    rows = [found.classes for found in response.result.classifications]
    shape = (len(rows), len(rows[0]) if rows else 0)
    if any(len(row) != shape[1] for row in rows):
        raise Internal("The server upstream answered with more classes for some examples")
    labels = np.empty(shape, object)
    labels[...] = [[found.label.encode() for found in row] for row in rows]
    scores = np.array([[found.score for found in row] for row in rows], np.float32)
    return ClassifyResult(
        spec=_resolved(response.model_spec),
        classifications=Classifications(labels=labels, scores=scores.reshape(shape)),
    )


def regress_result(response: RegressionResponse) -> RegressResult:
    """Read the answer to Regress."""
    values = [regression.value for regression in response.result.regressions]
    return RegressResult(spec=_resolved(response.model_spec), values=np.array(values, np.float32))


def multi_inference_request(call: MultiInferenceCall) -> MultiInferenceRequest:
    """Write a MultiInference request."""
    examples = SerializedExampleList(examples=call.examples.tolist())
    body = SerializedInput(example_list=examples).SerializeToString()
    return MultiInferenceRequest(
        tasks=[
            InferenceTaskProto(model_spec=model_spec(task.spec), method_name=task.method_name)
            for task in call.tasks
        ],
        input=Input.FromString(body),
    )


def multi_inference_result(response: MultiInferenceResponse) -> MultiInferenceResult:
    """Read the answer to MultiInference. Raises `Internal` for a result of an unknown kind."""
    return [_task_result(result) for result in response.results]


def _task_result(result: InferenceResult) -> ClassifyResult | RegressResult:
    spec = result.model_spec
    match result.WhichOneof("result"):
        case "classification_result":
            found = result.classification_result
            return classify_result(ClassificationResponse(model_spec=spec, result=found))
        case "regression_result":
            values = result.regression_result
            return regress_result(RegressionResponse(model_spec=spec, result=values))
        case other:
            raise Internal(f"The server upstream answered a task with {other}")


def metadata_request(call: MetadataCall) -> GetModelMetadataRequest:
    """Write a GetModelMetadata request."""
    return GetModelMetadataRequest(model_spec=model_spec(call.spec), metadata_field=call.fields)


def metadata_result(response: GetModelMetadataResponse) -> MetadataResult:
    """Read the answer to GetModelMetadata. Raises `Internal` if there are no signatures in it."""
    definitions = parse_answer(SignatureDefMap, response.metadata[METADATA_FIELD].value)
    return MetadataResult(
        spec=_resolved(response.model_spec),
        signatures={
            name: _signature(name, definition)
            for name, definition in definitions.signature_def.items()
        },
    )


def _signature(name: str, definition: SignatureDef) -> Signature:
    return Signature(
        name=name,
        method_name=definition.method_name,
        inputs=read_specs(definition.inputs),
        outputs=read_specs(definition.outputs),
        defaults=MappingProxyType(
            {alias: tensors.decode(alias, proto) for alias, proto in definition.defaults.items()}
        ),
        definition=definition.SerializeToString(deterministic=True),
    )


def status_request(call: StatusCall) -> GetModelStatusRequest:
    """Write a GetModelStatus request."""
    return GetModelStatusRequest(model_spec=model_spec(call.spec))


def states(name: str, response: GetModelStatusResponse) -> Mapping[int, ServableState]:
    """Read the answer to GetModelStatus for the model `name`, in the order given.

    Raises `Internal` for a state that there is not.
    """
    return {
        version.version: ServableState(
            ServableId(name, version.version),
            _state(version.state),
            error := _error(version.status),
            note="" if error else version.status.error_message,
        )
        for version in response.model_version_status
    }


def _state(number: int) -> State:
    try:
        return State(number)
    except ValueError:
        raise Internal(f"The server upstream answered with the unknown state {number}") from None


def _error(status: StatusProto) -> SigrunError | None:
    return error_for(status.error_code, status.error_message) if status.error_code else None


def _resolved(spec: ModelSpecProto) -> ResolvedSpec:
    return resolved(codec.model_spec(spec))
