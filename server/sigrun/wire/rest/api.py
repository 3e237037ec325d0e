"""TensorFlow Serving's REST API: each handler reads, calls, writes."""

from __future__ import annotations

from dataclasses import dataclass

from sigrun.concurrency.offload import Offload
from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument, SignatureNotFound, listed
from sigrun.inference.backend import Inference, Management
from sigrun.inference.calls import (
    METADATA_FIELD,
    ExamplesCall,
    MetadataCall,
    ModelSpec,
    PredictCall,
    PredictResult,
    ResolvedSpec,
    StatusCall,
)
from sigrun.inference.context import CallContext, Door
from sigrun.wire.http.messages import (
    JSON,
    HttpRequest,
    HttpResponse,
    UnsupportedMediaType,
    json_response,
)
from sigrun.wire.interceptors import Answer, Interceptors, intercepted
from sigrun.wire.json import document, outputs
from sigrun.wire.protobuf import predict_reader, predict_writer
from sigrun.wire.rest import binary, documents, examples_body, predict_body
from sigrun.wire.rest.routes import route


@dataclass(slots=True)
class RestCall:
    """One request and where it goes."""

    request: HttpRequest
    spec: ModelSpec

    def __len__(self) -> int:
        """Return the size of the body in bytes."""
        return len(self.request.body)


class RestApi:
    """Answers everything under `/v1/`. A call is given `timeout_s`, None for ever.

    With `as_content` the outputs in a binary answer are in `tensor_content`.
    """

    def __init__(
        self,
        inference: Inference,
        management: Management,
        offload: Offload,
        *,
        timeout_s: float | None,
        as_content: bool = False,
        interceptors: Interceptors = (),
    ) -> None:
        self._inference = inference
        self._management = management
        self._offload = offload
        self._timeout_s = timeout_s
        self._as_content = as_content
        actions: dict[str, Answer[RestCall, HttpResponse]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "metadata": self._metadata,
            "models": self._models,
            "status": self._status,
        }
        self._actions = {
            name: intercepted(f"/v1/models:{name}", action, interceptors)
            for name, action in actions.items()
        }

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request. Raises a `SigrunError` for what went wrong."""
        wanted = route(request)
        context = request.context(Door.REST, self._timeout_s)
        return await self._actions[wanted.action](RestCall(request, wanted.spec), context)

    async def _predict(self, call: RestCall, context: CallContext) -> HttpResponse:
        if binary.is_binary(call.request):
            return await self._predict_binary(call, context)
        body = call.request.body
        offload, cost_s = self._offload, document.cost_s(body)
        # Asked here as well, twice: most requests are small, and are spared coroutines.
        predict = (
            predict_body.read(body, keep_on)
            if offload.is_short(cost_s)
            else await offload.run(
                lambda pace: predict_body.read(body, pace),
                cost_s=cost_s,
                deadline=context.deadline,
            )
        )
        spec = call.spec
        if predict.signature_name:
            spec = spec._replace(signature_name=predict.signature_name)
        try:
            result = await self._inference.predict(
                PredictCall(spec=spec, inputs=predict, context=context)
            )
        except SignatureNotFound as error:
            raise _no_signature(error) from None
        is_row = predict.is_row
        if not binary.wants_binary(call.request) and offload.is_short(
            outputs.cost_s(result.outputs)
        ):
            write = outputs.predictions if is_row else outputs.outputs
            return _answer(write(result.outputs, keep_on), result.spec)
        return await self._write(result, call, context, is_row=is_row)

    async def _predict_binary(self, call: RestCall, context: CallContext) -> HttpResponse:
        body = bytes(call.request.body)
        predict = await self._offload.run(
            lambda _: predict_reader.predict_call(body, context, default=call.spec),
            cost_s=predict_reader.cost_s(body),
            deadline=context.deadline,
        )
        spec = binary.target(call.spec, predict.spec)
        result = await self._inference.predict(predict._replace(spec=spec))
        return await self._write(result, call, context, is_row=False)

    async def _write(
        self, result: PredictResult, call: RestCall, context: CallContext, *, is_row: bool
    ) -> HttpResponse:
        if binary.wants_binary(call.request):
            return await self._write_binary(result, context)
        write = outputs.predictions if is_row else outputs.outputs
        body = await self._offload.run(
            lambda pace: write(result.outputs, pace),
            cost_s=outputs.cost_s(result.outputs),
            deadline=context.deadline,
        )
        return _answer(body, result.spec)

    async def _write_binary(self, result: PredictResult, context: CallContext) -> HttpResponse:
        as_content = self._as_content
        body = await self._offload.run(
            lambda _: predict_writer.predict_response(result, as_content=as_content),
            cost_s=predict_writer.cost_s(result.outputs.values(), as_content=as_content),
            deadline=context.deadline,
        )
        return _answer(body, result.spec, binary.PROTOBUF)

    async def _classify(self, call: RestCall, context: CallContext) -> HttpResponse:
        result = await self._inference.classify(await self._examples(call, context))
        found = result.classifications
        body = await self._offload.run(
            lambda pace: outputs.classifications(found, pace),
            cost_s=outputs.classes_cost_s(found),
            deadline=context.deadline,
        )
        return _answer(body, result.spec)

    async def _regress(self, call: RestCall, context: CallContext) -> HttpResponse:
        result = await self._inference.regress(await self._examples(call, context))
        values = result.values
        body = await self._offload.run(
            lambda pace: outputs.regressions(values, pace),
            cost_s=outputs.cost_s({"values": values}),
            deadline=context.deadline,
        )
        return _answer(body, result.spec)

    async def _examples(self, call: RestCall, context: CallContext) -> ExamplesCall:
        if binary.is_binary(call.request):
            raise UnsupportedMediaType("Protobuf bodies are taken by predict; send JSON here")
        body = call.request.body
        read = await self._offload.run(
            lambda pace: examples_body.read(body, pace),
            cost_s=document.cost_s(body),
            deadline=context.deadline,
        )
        spec = call.spec._replace(signature_name=read.signature_name)
        return ExamplesCall(spec=spec, examples=read.examples, context=context)

    async def _metadata(self, call: RestCall, context: CallContext) -> HttpResponse:
        result = await self._inference.metadata(
            MetadataCall(spec=call.spec, fields=(METADATA_FIELD,), context=context)
        )
        return _answer(json_response(documents.metadata(result)).body, result.spec)

    async def _models(self, call: RestCall, context: CallContext) -> HttpResponse:
        return json_response(documents.models(await self._management.models(context)))

    async def _status(self, call: RestCall, context: CallContext) -> HttpResponse:
        states = await self._management.status(StatusCall(spec=call.spec, context=context))
        return json_response(documents.status(states))


def _no_signature(error: SignatureNotFound) -> InvalidArgument:
    """Return TensorFlow Serving's text, and what there is."""
    text = f'Serving signature name: "{error.name}" not found in signature def'
    if error.others:
        text += "; it has " + listed(f'"{name}"' for name in error.others)
    return InvalidArgument(text)


def _answer(body: bytes, spec: ResolvedSpec, content_type: bytes = JSON) -> HttpResponse:
    headers = ((b"x-model-version", b"%d" % spec.version),)
    return HttpResponse(body=body, content_type=content_type, headers=headers)
