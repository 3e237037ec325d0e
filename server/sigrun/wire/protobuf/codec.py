"""Messages <-> calls and results, one function per message; names as in the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.protobuf.error_codes_pb2 import Code as ErrorCode
from sigrun._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from sigrun._gen.tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
    status_pb2,
)
from sigrun._gen.tensorflow_serving.apis.internal import serialized_input_pb2
from sigrun.concurrency.pace import Pace
from sigrun.errors import Code, InvalidArgument, SigrunError
from sigrun.inference.calls import (
    METADATA_FIELD,
    Classifications,
    ClassifyResult,
    ExamplesCall,
    InferenceTask,
    MetadataCall,
    MetadataResult,
    ModelSpec,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.context import CallContext
from sigrun.servables.state import ServableState
from sigrun.tensors.signature import Array, Signature
from sigrun.wire.protobuf import tensors

# What the general path takes for each byte of a request, from bytes to arrays.
_S_PER_BYTE = 3e-9

_Targeted = (
    predict_pb2.PredictRequest
    | classification_pb2.ClassificationRequest
    | regression_pb2.RegressionRequest
    | get_model_metadata_pb2.GetModelMetadataRequest
    | get_model_status_pb2.GetModelStatusRequest
)


def predict_call(
    request: predict_pb2.PredictRequest,
    context: CallContext,
    default: ModelSpec | None = None,
) -> PredictCall:
    """Read a Predict request; its tensors are decoded when the signature is known.

    `default` is the target of a request that names none.
    """
    spec = default if default and not request.HasField("model_spec") else target(request)
    return PredictCall(
        spec=spec,
        inputs=Tensors(request.inputs, _S_PER_BYTE * _decoded_bytes(request)),
        output_filter=tuple(request.output_filter),
        context=context,
    )


def _decoded_bytes(request: predict_pb2.PredictRequest) -> int:
    """Return how many bytes decoding goes through: those sent, and those that they become."""
    return request.ByteSize() + tensors.decoding_bytes(request.inputs)


class Tensors(NamedTuple):
    """Inputs as protobuf has parsed them."""

    by_alias: Mapping[str, TensorProto]
    cost_s: float

    def bind(self, signature: Signature, pace: Pace) -> Mapping[str, Array]:
        """Return the arrays. Raises `InvalidArgument` for a tensor that is broken."""
        return tensors.input_arrays(self.by_alias, signature)


def predict_response(result: PredictResult, *, as_content: bool) -> predict_pb2.PredictResponse:
    """Write the answer to Predict."""
    response = predict_pb2.PredictResponse(model_spec=resolved_spec(result.spec))
    for alias, array in result.outputs.items():
        response.outputs[alias].CopyFrom(tensors.encode(array, as_content=as_content))
    return response


def examples_call(
    request: classification_pb2.ClassificationRequest | regression_pb2.RegressionRequest,
    context: CallContext,
) -> ExamplesCall:
    """Read a Classify or Regress request."""
    return ExamplesCall(
        spec=target(request), examples=serialized_examples(request.input), context=context
    )


def classification_response(
    result: ClassifyResult,
) -> classification_pb2.ClassificationResponse:
    """Write the answer to Classify."""
    return classification_pb2.ClassificationResponse(
        model_spec=resolved_spec(result.spec),
        result=_classification_result(result.classifications),
    )


def _classification_result(found: Classifications) -> classification_pb2.ClassificationResult:
    result = classification_pb2.ClassificationResult()
    shape = (found.scores if found.scores is not None else found.labels).shape  # type: ignore[union-attr]
    labels = np.full(shape, b"") if found.labels is None else found.labels
    scores = np.zeros(shape) if found.scores is None else found.scores
    for row_labels, row_scores in zip(labels.tolist(), scores.tolist(), strict=True):
        result.classifications.add().classes.extend(
            classification_pb2.Class(label=text(label), score=score)
            for label, score in zip(row_labels, row_scores, strict=True)
        )
    return result


def text(value: bytes) -> str:
    """Return a label as text. Raises `InvalidArgument` if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"The class label {value!r} is not UTF-8") from None


def regression_response(result: RegressResult) -> regression_pb2.RegressionResponse:
    """Write the answer to Regress."""
    return regression_pb2.RegressionResponse(
        model_spec=resolved_spec(result.spec), result=_regression_result(result.values)
    )


def _regression_result(values: Array) -> regression_pb2.RegressionResult:
    return regression_pb2.RegressionResult(
        regressions=[regression_pb2.Regression(value=value) for value in values.tolist()]
    )


def multi_inference_call(
    request: inference_pb2.MultiInferenceRequest, context: CallContext
) -> MultiInferenceCall:
    """Read a MultiInference request."""
    tasks = [
        InferenceTask(spec=model_spec(task.model_spec), method_name=task.method_name)
        for task in request.tasks
    ]
    return MultiInferenceCall(
        tasks=tasks, examples=serialized_examples(request.input), context=context
    )


def multi_inference_response(
    results: MultiInferenceResult,
) -> inference_pb2.MultiInferenceResponse:
    """Write the answer to MultiInference."""
    return inference_pb2.MultiInferenceResponse(results=[_task_result(r) for r in results])


def _task_result(result: ClassifyResult | RegressResult) -> inference_pb2.InferenceResult:
    spec = resolved_spec(result.spec)
    match result:
        case ClassifyResult():
            classified = _classification_result(result.classifications)
            return inference_pb2.InferenceResult(model_spec=spec, classification_result=classified)
        case RegressResult():
            regressed = _regression_result(result.values)
            return inference_pb2.InferenceResult(model_spec=spec, regression_result=regressed)


def metadata_call(
    request: get_model_metadata_pb2.GetModelMetadataRequest, context: CallContext
) -> MetadataCall:
    """Read a GetModelMetadata request."""
    return MetadataCall(spec=target(request), fields=tuple(request.metadata_field), context=context)


def metadata_response(result: MetadataResult) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Write the answer to GetModelMetadata: every signature as the model defines it."""
    response = get_model_metadata_pb2.GetModelMetadataResponse(
        model_spec=resolved_spec(result.spec)
    )
    response.metadata[METADATA_FIELD].Pack(signature_def_map(result.signatures))
    return response


def signature_def_map(
    signatures: Mapping[str, Signature],
) -> get_model_metadata_pb2.SignatureDefMap:
    """Return the definitions of `signatures` by name."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        definitions.signature_def[name].CopyFrom(SignatureDef.FromString(signature.definition))
    return definitions


def status_response(
    states: Mapping[int, ServableState],
) -> get_model_status_pb2.GetModelStatusResponse:
    """Write the states of a model's versions, in the order given."""
    return get_model_status_pb2.GetModelStatusResponse(
        model_version_status=[
            get_model_status_pb2.ModelVersionStatus(
                version=version,
                state=state.state.value,  # type: ignore[arg-type]  # numbered alike
                status=_status_of(state),
            )
            for version, state in states.items()
        ]
    )


def _status_of(state: ServableState) -> status_pb2.StatusProto:
    """Return the error of a version, else OK and what there is to know beside it."""
    status = status_proto(state.error)
    if state.error is None:
        status.error_message = state.note
    return status


def status_proto(error: SigrunError | None) -> status_pb2.StatusProto:
    """Return an error as data, OK for None."""
    if error is None:
        return status_pb2.StatusProto(error_code=_error_code(Code.OK))
    return status_pb2.StatusProto(error_code=_error_code(error.code), error_message=str(error))


def _error_code(code: Code) -> ErrorCode.ValueType:
    return code.value  # type: ignore[return-value]  # numbered alike


def target(request: _Targeted) -> ModelSpec:
    """Return the model spec of a request. Raises `InvalidArgument` if it has none."""
    if not request.HasField("model_spec"):
        raise InvalidArgument("Missing ModelSpec")
    return model_spec(request.model_spec)


def model_spec(spec: model_pb2.ModelSpec) -> ModelSpec:
    """Return a model spec as a value."""
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        name=spec.name,
        version=spec.version.value if choice == "version" else None,
        label=spec.version_label if choice == "version_label" else None,
        signature_name=spec.signature_name,
    )


def resolved_spec(spec: ResolvedSpec) -> model_pb2.ModelSpec:
    """Return the spec of an answer, its version always given."""
    message = model_pb2.ModelSpec(name=spec.name, signature_name=spec.signature_name)
    message.version.value = spec.version
    return message


def check_context(context: bytes, examples: int, sent_bytes: int) -> None:
    """Raise `InvalidArgument` if a small request becomes huge: each example gets the context."""
    limit = tensors.growth_limit(sent_bytes)
    if len(context) * examples > limit:
        raise InvalidArgument(
            f"A context of {len(context)} bytes for each of {examples} examples makes "
            f"{len(context) * examples} bytes of {sent_bytes}; {limit} may be made: "
            "send fewer examples at a time"
        )


def serialized_examples(message: input_pb2.Input) -> Array:
    """Return the examples of `message` as a vector of serialized `tf.Example` bytes.

    A context is put in front of each: merging the two is then what parsing does, and the
    example's own features win. `SerializedInput` is `Input` with examples left as bytes.
    """
    view = serialized_input_pb2.SerializedInput.FromString(message.SerializeToString())
    match view.WhichOneof("kind"):
        case "example_list":
            return _vector(view.example_list.examples)
        case "example_list_with_context":
            given = view.example_list_with_context
            check_context(given.context, len(given.examples), message.ByteSize())
            return _vector([given.context + example for example in given.examples])
        case _:
            return _vector(())


def _vector(values: Sequence[bytes]) -> Array:
    vector = np.empty(len(values), object)
    vector[:] = values
    return vector
