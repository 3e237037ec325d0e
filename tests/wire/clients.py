"""Clients of the gRPC port, made of the generated messages alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun._gen.tensorflow.core.example.feature_pb2 import BytesList, Feature, Features
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import (
    MultiInferenceRequest,
    MultiInferenceResponse,
)
from sigrun._gen.tensorflow_serving.apis.input_pb2 import ExampleList, Input
from sigrun._gen.tensorflow_serving.apis.model_management_pb2 import (
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
)
from sigrun.wire.protobuf import tensors

NAME = "half_plus_two"
PATIENCE_S = 25.0  # less than the limit of a test, so that its end says what was waited for

_PREDICTION = "/tensorflow.serving.PredictionService"
_MODEL = "/tensorflow.serving.ModelService"
METHODS: dict[type[Message], tuple[str, type[Any]]] = {
    PredictRequest: (f"{_PREDICTION}/Predict", PredictResponse),
    ClassificationRequest: (f"{_PREDICTION}/Classify", ClassificationResponse),
    RegressionRequest: (f"{_PREDICTION}/Regress", RegressionResponse),
    MultiInferenceRequest: (f"{_PREDICTION}/MultiInference", MultiInferenceResponse),
    GetModelMetadataRequest: (f"{_PREDICTION}/GetModelMetadata", GetModelMetadataResponse),
    GetModelStatusRequest: (f"{_MODEL}/GetModelStatus", GetModelStatusResponse),
    ReloadConfigRequest: (f"{_MODEL}/HandleReloadConfigRequest", ReloadConfigResponse),
}

WatchCall = grpc.aio.UnaryStreamCall[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


class GrpcClient:
    """Calls by message: the type of the request says which method is meant."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def begin(self, request: Message, *, timeout_s: float | None = PATIENCE_S) -> Any:
        """Return the call, to be awaited or cancelled."""
        path, response = METHODS[type(request)]
        method = self.channel.unary_unary(
            path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return method(request, timeout=timeout_s)

    async def call(self, request: Message, *, timeout_s: float | None = PATIENCE_S) -> Any:
        """Return the answer. Raises `grpc.aio.AioRpcError`."""
        return await self.begin(request, timeout_s=timeout_s)

    async def send(self, path: str, body: bytes) -> bytes:
        """Return what the method at `path` answers to any bytes."""
        method = self.channel.unary_unary(path, bytes, bytes)
        answer: bytes = await method(body, timeout=PATIENCE_S)
        return answer

    async def predict(self, *values: float, **spec: Any) -> PredictResponse:
        """Return the answer of the model's default signature."""
        answer: PredictResponse = await self.call(predict_request(*values, **spec))
        return answer

    async def check(self, service: str = "") -> str:
        """Return the health of `service` by name."""
        method = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await method(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
        return status_name(answer)

    async def list_health(self) -> dict[str, str]:
        """Return the health of everything that has one, by name."""
        body = await self.send("/grpc.health.v1.Health/List", b"")
        answer = health_pb2.HealthListResponse.FromString(body)
        return {name: status_name(status) for name, status in answer.statuses.items()}

    def watch(self, service: str = "") -> Watcher:
        """Return the stream of changes in the health of `service`."""
        method = self.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return Watcher(method(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S))


class Watcher:
    """One Watch stream."""

    def __init__(self, call: WatchCall) -> None:
        self._call = call

    async def next(self) -> str:
        """Return the next status by name, `end` when the server has ended the stream."""
        message = await self._call.read()
        return "end" if message is grpc.aio.EOF else status_name(message)

    async def code(self) -> grpc.StatusCode:
        """Return how the stream ended."""
        return await self._call.code()

    def leave(self) -> None:
        """Cancel the stream."""
        self._call.cancel()


def status_name(response: Any) -> str:
    """Return `SERVING`, `NOT_SERVING` or `SERVICE_UNKNOWN`."""
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return name


async def failure(call: Awaitable[Any]) -> tuple[str, str]:
    """Return name of the code and text of the error that `call` ends in."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError(f"expected an error, got {answer}")


async def soon(work: Awaitable[Any]) -> Any:
    """Return what comes of `work`, which must not take long."""
    async with asyncio.timeout(PATIENCE_S):
        return await work


def spec_of(
    name: str = NAME, *, version: int | None = None, label: str | None = None, signature: str = ""
) -> ModelSpec:
    """Return a model spec."""
    spec = ModelSpec(name=name, signature_name=signature)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def predict_request(*values: float, **spec: Any) -> PredictRequest:
    """Return a request for the model's default signature, or another with the same input."""
    x = np.array(values, np.float32)
    return PredictRequest(model_spec=spec_of(**spec), inputs={"x": tensors.encode(x)})


def examples_of(*texts: str) -> list[Example]:
    """Return examples with one feature, `text`."""
    return [
        Example(
            features=Features(
                feature={"text": Feature(bytes_list=BytesList(value=[text.encode()]))}
            )
        )
        for text in texts
    ]


def input_of(*texts: str) -> Input:
    """Return these examples as the input of a request."""
    return Input(example_list=ExampleList(examples=examples_of(*texts)))


def sizes_of(*texts: str) -> Sequence[int]:
    """Return the serialized sizes of these examples, which is what the model answers."""
    return [len(example.SerializeToString()) for example in examples_of(*texts)]
