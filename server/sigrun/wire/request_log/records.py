"""A call and its result -> a `PredictionLog`, as a record of a TFRecord file or a line of JSON.

Messages are put together from the bytes of their parts, so that large tensors are copied, not
parsed. In JSON, tensors are in the typed fields that people can read.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import json_format
from google.protobuf.message import Message

from sigrun._gen import POOL
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.logging_pb2 import LogMetadata
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest
from sigrun._gen.tensorflow_serving.apis.prediction_log_pb2 import (
    ClassifyLog,
    MultiInferenceLog,
    PredictionLog,
    PredictLog,
    RegressLog,
)
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun._gen.tensorflow_serving.config.logging_config_pb2 import SamplingConfig
from sigrun.config.request_log import LogKind, RequestLogging
from sigrun.inference.calls import (
    Arrays,
    ClassifyResult,
    ExamplesCall,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.tensors.signature import Array
from sigrun.wire.protobuf import client_codec, codec, predict_writer, tensors, wire_format
from sigrun.wire.tfrecord import framed

LoggedCall = PredictCall | ExamplesCall | MultiInferenceCall
LoggedResult = PredictResult | ClassifyResult | RegressResult | MultiInferenceResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request that was answered. The inputs of a `PredictCall` are `Arrays`."""

    call: LoggedCall
    result: LoggedResult
    target: ResolvedSpec
    answered_at: float  # time.time seconds


def size_bytes(entry: Entry) -> int:
    """Return about how much memory the entry holds."""
    call, result = entry.call, entry.result
    arrays: list[Array] = []
    if isinstance(call, PredictCall):
        if isinstance(call.inputs, Arrays):
            arrays += call.inputs.by_alias.values()
    else:
        arrays.append(call.examples)
    if isinstance(result, PredictResult):
        arrays += result.outputs.values()
    return 1024 + sum(map(_array_bytes, arrays))


def _array_bytes(array: Array) -> int:
    strings = sum(map(len, array.flat)) if array.dtype == object else 0
    return array.nbytes + strings


def encode(entry: Entry, logging: RequestLogging) -> bytes:
    """Return the entry as it stands in a file. Raises a `SigrunError` for what has no wire form."""
    is_text = logging.kind is LogKind.JSON_LINES
    log = _metadata(entry, logging) + _log(entry, is_text=is_text)
    if not is_text:
        return framed(log)
    line = json_format.MessageToJson(
        PredictionLog.FromString(log),
        preserving_proto_field_name=True,
        indent=None,
        descriptor_pool=POOL,
    )
    return line.encode() + b"\n"


def _metadata(entry: Entry, logging: RequestLogging) -> bytes:
    metadata = LogMetadata(
        model_spec=codec.resolved_spec(entry.target),
        sampling_config=SamplingConfig(sampling_rate=logging.sampling_rate),
        timestamp_secs=int(entry.answered_at),
        request_origin=entry.call.context.peer if logging.logs_origin else "",
    )
    return _field(PredictionLog, "log_metadata", metadata.SerializeToString())


def _log(entry: Entry, *, is_text: bool) -> bytes:
    call, result = entry.call, entry.result
    match call, result:
        case PredictCall(), PredictResult():
            request = _predict_request(call, is_text=is_text)
            response = predict_writer.predict_response(result, as_content=False)
            return _exchange("predict_log", PredictLog, request, response)
        case ExamplesCall(), ClassifyResult():
            request = client_codec.examples_request(ClassificationRequest, call)
            response = codec.classification_response(result).SerializeToString()
            return _exchange("classify_log", ClassifyLog, request, response)
        case ExamplesCall(), RegressResult():
            request = client_codec.examples_request(RegressionRequest, call)
            response = codec.regression_response(result).SerializeToString()
            return _exchange("regress_log", RegressLog, request, response)
        case MultiInferenceCall(), list():
            request = client_codec.multi_inference_request(call).SerializeToString()
            response = codec.multi_inference_response(result).SerializeToString()
            return _exchange("multi_inference_log", MultiInferenceLog, request, response)
    raise TypeError(f"{type(call).__name__} is not answered by a {type(result).__name__}")


def _predict_request(call: PredictCall, *, is_text: bool) -> bytes:
    if not isinstance(call.inputs, Arrays):
        raise TypeError("the inputs of a logged call are arrays")
    arrays = call.inputs.by_alias
    if not is_text:
        return predict_writer.predict_request(call.spec, arrays, call.output_filter)
    request = PredictRequest(
        model_spec=client_codec.model_spec(call.spec), output_filter=call.output_filter
    )
    for alias, array in arrays.items():
        request.inputs[alias].CopyFrom(tensors.encode(array))
    return request.SerializeToString()


def _exchange(kind: str, message: type[Message], request: bytes, response: bytes) -> bytes:
    both = _field(message, "request", request) + _field(message, "response", response)
    return _field(PredictionLog, kind, both)


def _field(message: type[Message], name: str, value: bytes) -> bytes:
    return b"".join((wire_format.tag(message, name), wire_format.varint(len(value)), value))
