"""The agent that is nobody's client: tensorflow-serving-api's stubs, TensorFlow's own codecs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.conformance.cases import DTYPES, Document, Failure, array, number, raw_bytes, tensor

TIMEOUT_S = 20


class RawAgent:
    """Asks by messages that are filled field by field."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(channel)
        self._methods: Mapping[str, Callable[[Document], Document]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "multi_inference": self._multi_inference,
            "metadata": self._metadata,
            "status": self._status,
        }

    def __call__(self, method: str, request: Document) -> Document:
        try:
            return self._methods[method](request)
        except grpc.RpcError as error:
            raise Failure(error.code().name, error.details() or "") from None

    def _predict(self, request: Document) -> Document:
        message = predict_pb2.PredictRequest(
            model_spec=_spec(request), output_filter=request.get("output_filter", [])
        )
        for alias, value in request["inputs"].items():
            message.inputs[alias].CopyFrom(tf.make_tensor_proto(array(value), shape=value["shape"]))
        answer = self._prediction.Predict(message, TIMEOUT_S)
        outputs = {alias: tensor(tf.make_ndarray(p)) for alias, p in answer.outputs.items()}
        return {**_answered(answer.model_spec), "outputs": outputs}

    def _classify(self, request: Document) -> Document:
        message = classification_pb2.ClassificationRequest(
            model_spec=_spec(request), input=_input(request)
        )
        answer = self._prediction.Classify(message, TIMEOUT_S)
        return {**_answered(answer.model_spec), **_classifications(answer.result)}

    def _regress(self, request: Document) -> Document:
        message = regression_pb2.RegressionRequest(model_spec=_spec(request), input=_input(request))
        answer = self._prediction.Regress(message, TIMEOUT_S)
        return {**_answered(answer.model_spec), **_values(answer.result)}

    def _multi_inference(self, request: Document) -> Document:
        tasks = [
            inference_pb2.InferenceTask(model_spec=_spec(task), method_name=task["method"])
            for task in request["tasks"]
        ]
        message = inference_pb2.MultiInferenceRequest(tasks=tasks, input=_input(request))
        answer = self._prediction.MultiInference(message, TIMEOUT_S)
        return {"results": [_result(result) for result in answer.results]}

    def _metadata(self, request: Document) -> Document:
        message = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(request), metadata_field=["signature_def"]
        )
        answer = self._prediction.GetModelMetadata(message, TIMEOUT_S)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            "version": str(answer.model_spec.version.value),
            "signatures": {
                name: {
                    "method": signature.method_name,
                    "inputs": {alias: _info(i) for alias, i in signature.inputs.items()},
                    "outputs": {alias: _info(o) for alias, o in signature.outputs.items()},
                }
                for name, signature in signatures.signature_def.items()
                if not name.startswith("__saved_model")
            },
        }

    def _status(self, request: Document) -> Document:
        message = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(request))
        answer = self._model.GetModelStatus(message, TIMEOUT_S)
        return {
            "versions": [
                {
                    "version": str(version.version),
                    "state": version.State.Name(version.state),
                    "code": error_codes_pb2.Code.Name(version.status.error_code),
                    "message": version.status.error_message,
                }
                for version in answer.model_version_status
            ]
        }


def _spec(request: Document) -> Any:
    spec = model_pb2.ModelSpec(name=request["model"], signature_name=request.get("signature", ""))
    if "version" in request:
        spec.version.value = int(request["version"])
    if "label" in request:
        spec.version_label = request["label"]
    return spec


def _answered(spec: Any) -> Document:
    return {"version": str(spec.version.value), "signature": spec.signature_name}


def _input(request: Document) -> Any:
    examples = [_example(example) for example in request["examples"]]
    if "context" not in request:
        return input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples))
    with_context = input_pb2.ExampleListWithContext(
        examples=examples, context=_example(request["context"])
    )
    return input_pb2.Input(example_list_with_context=with_context)


def _example(features: Document) -> Any:
    example = tf.train.Example()
    for name, feature in features.items():
        (kind,) = feature
        match kind:
            case "float":
                example.features.feature[name].float_list.value.extend(map(float, feature[kind]))
            case "int64":
                example.features.feature[name].int64_list.value.extend(map(int, feature[kind]))
            case "bytes":
                example.features.feature[name].bytes_list.value.extend(
                    map(raw_bytes, feature[kind])
                )
            case _:
                raise ValueError(kind)
    return example


def _result(result: Any) -> Document:
    if result.HasField("classification_result"):
        return {**_answered(result.model_spec), **_classifications(result.classification_result)}
    return {**_answered(result.model_spec), **_values(result.regression_result)}


def _classifications(result: Any) -> Document:
    return {
        "classifications": [
            [{"label": one.label, "score": number(one.score)} for one in row.classes]
            for row in result.classifications
        ]
    }


def _values(result: Any) -> Document:
    return {"values": [number(regression.value) for regression in result.regressions]}


def _info(info: Any) -> Document:
    dtype = types_pb2.DataType.Name(info.dtype)
    assert dtype in DTYPES
    shape = info.tensor_shape
    return {
        "dtype": dtype,
        "shape": None if shape.unknown_rank else [dim.size for dim in shape.dim],
    }
