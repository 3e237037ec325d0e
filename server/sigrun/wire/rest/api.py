"""TensorFlow Serving's REST API: each handler reads, calls, writes."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from sigrun.concurrency.threads import Threads
from sigrun.errors import InvalidArgument, SignatureNotFound
from sigrun.inference.backend import Inference, Management
from sigrun.inference.calls import (
    METADATA_FIELD,
    Classifications,
    ExamplesCall,
    MetadataCall,
    ModelSpec,
    PredictCall,
    PredictResult,
    ResolvedSpec,
    StatusCall,
)
from sigrun.tensors.signature import Array, Signature
from sigrun.wire.body import Body
from sigrun.wire.http.messages import (
    JSON,
    HttpRequest,
    HttpResponse,
    UnsupportedMediaType,
    json_response,
)
from sigrun.wire.json import outputs
from sigrun.wire.protobuf import predict_reader, predict_writer
from sigrun.wire.rest import binary, documents, examples_body, predict_body
from sigrun.wire.rest.routes import route

T = TypeVar("T")
U = TypeVar("U")

# A body of so many bytes takes a fraction of a millisecond: longer than to go to a thread.
_LARGE_BYTES = 32 * 1024
_MANY_CLASSES = 1024


class RestApi:
    """Answers everything under `/v1/`. Inference is given `timeout_s`, None for ever.

    Bodies that take long to read or write are left to the threads of `bodies`. With
    `as_content` the outputs in a binary answer are in `tensor_content`.
    """

    def __init__(
        self,
        inference: Inference,
        management: Management,
        *,
        timeout_s: float | None,
        bodies: Threads,
        as_content: bool = False,
    ) -> None:
        self._inference = inference
        self._management = management
        self._timeout_s = timeout_s
        self._bodies = bodies
        self._as_content = as_content

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request. Raises a `SigrunError` for what went wrong."""
        wanted = route(request)
        spec = wanted.spec
        match wanted.action:
            case "predict" if binary.is_binary(request):
                response = await self._predict_binary(spec, request)
            case "predict":
                response = await self._predict(spec, request)
            case "classify":
                response = await self._classify(spec, request)
            case "regress":
                response = await self._regress(spec, request)
            case "metadata":
                response = await self._metadata(spec)
            case "models":
                response = await self._models()
            case _:
                response = await self._status(spec)
        return response

    async def _predict(self, spec: ModelSpec, request: HttpRequest) -> HttpResponse:
        deadline = self._deadline()
        in_threads = len(request.body) >= _LARGE_BYTES
        predict = await self._convert(predict_body.read, request.body, in_threads, deadline)

        async def bind(signature: Signature) -> Mapping[str, Array]:
            return await self._convert(predict.inputs, signature, in_threads, deadline)

        spec = dataclasses.replace(spec, signature_name=predict.signature_name)
        call = PredictCall(spec=spec, inputs=bind, deadline=deadline)
        try:
            result = await self._inference.predict(call)
        except SignatureNotFound as error:
            raise InvalidArgument(
                f'Serving signature name: "{error.name}" not found in signature def'
            ) from None
        if binary.wants_binary(request):
            return await self._write_binary(result, deadline)
        return await self._write(result, deadline, is_row=predict.is_row)

    async def _predict_binary(self, spec: ModelSpec, request: HttpRequest) -> HttpResponse:
        deadline = self._deadline()
        read = functools.partial(_binary_call, spec=spec, deadline=deadline)
        call = await self._convert(read, request.body, len(request.body) >= _LARGE_BYTES, deadline)
        result = await self._inference.predict(call)
        if binary.wants_binary(request):
            return await self._write_binary(result, deadline)
        return await self._write(result, deadline, is_row=False)

    async def _write(
        self, result: PredictResult, deadline: float | None, *, is_row: bool
    ) -> HttpResponse:
        write = outputs.predictions if is_row else outputs.outputs
        in_threads = outputs.size(result.outputs) >= _LARGE_BYTES
        body = await self._convert(write, result.outputs, in_threads, deadline)
        return _answer(body, result.spec)

    async def _write_binary(self, result: PredictResult, deadline: float | None) -> HttpResponse:
        write = functools.partial(predict_writer.predict_response, as_content=self._as_content)
        in_threads = predict_writer.takes_long(result, as_content=self._as_content)
        body = await self._convert(write, result, in_threads, deadline)
        return _answer(body, result.spec, binary.PROTOBUF)

    async def _classify(self, spec: ModelSpec, request: HttpRequest) -> HttpResponse:
        call = await self._examples(spec, request)
        result = await self._inference.classify(call)
        found, write = result.classifications, outputs.classifications
        body = await self._convert(write, found, _are_many(found), call.deadline)
        return _answer(body, result.spec)

    async def _regress(self, spec: ModelSpec, request: HttpRequest) -> HttpResponse:
        call = await self._examples(spec, request)
        result = await self._inference.regress(call)
        return _answer(outputs.regressions(result.values), result.spec)

    async def _examples(self, spec: ModelSpec, request: HttpRequest) -> ExamplesCall:
        if binary.is_binary(request):
            raise UnsupportedMediaType("Protobuf bodies are taken by predict; send JSON here")
        deadline = self._deadline()
        in_threads = len(request.body) >= _LARGE_BYTES
        body = await self._convert(examples_body.read, request.body, in_threads, deadline)
        spec = dataclasses.replace(spec, signature_name=body.signature_name)
        return ExamplesCall(spec=spec, examples=body.examples, deadline=deadline)

    async def _convert(
        self, convert: Callable[[T], U], value: T, in_threads: bool, deadline: float | None
    ) -> U:
        if not in_threads:
            return convert(value)
        return await self._bodies.run(convert, value, deadline=deadline)

    async def _metadata(self, spec: ModelSpec) -> HttpResponse:
        call = MetadataCall(spec=spec, fields=(METADATA_FIELD,), deadline=self._deadline())
        result = await self._inference.metadata(call)
        document = json_response(documents.metadata(result))
        return _answer(document.body, result.spec)

    async def _models(self) -> HttpResponse:
        return json_response(documents.models(await self._management.models(self._deadline())))

    async def _status(self, spec: ModelSpec) -> HttpResponse:
        call = StatusCall(spec=spec, deadline=self._deadline())
        return json_response(documents.status(await self._management.status(call)))

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s


def _binary_call(body: Body, *, spec: ModelSpec, deadline: float | None) -> PredictCall:
    call = predict_reader.predict_call(bytes(body), deadline, default=spec)
    return dataclasses.replace(call, spec=binary.target(spec, call.spec))


def _are_many(found: Classifications) -> bool:
    return any(a is not None and a.size >= _MANY_CLASSES for a in (found.labels, found.scores))


def _answer(body: bytes, spec: ResolvedSpec, content_type: bytes = JSON) -> HttpResponse:
    headers = ((b"x-model-version", b"%d" % spec.version),)
    return HttpResponse(body=body, content_type=content_type, headers=headers)
