"""TensorFlow Serving's REST API: each handler reads, calls, writes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from sigrun.executors.threads import Threads
from sigrun.inference.backend import Inference, Management
from sigrun.inference.calls import MetadataCall, ModelSpec, PredictCall, StatusCall
from sigrun.inference.service import METADATA_FIELD
from sigrun.servables.signature import Array, Signature
from sigrun.wire.http import documents, json_body, json_outputs
from sigrun.wire.http.json_syntax import Body
from sigrun.wire.http.messages import HttpRequest, HttpResponse, json_response
from sigrun.wire.http.routes import route

T = TypeVar("T")
U = TypeVar("U")

# A body of so many bytes takes a fraction of a millisecond: longer than to go to a thread.
_LARGE_BYTES = 32 * 1024


class RestApi:
    """Answers everything under `/v1/`. Inference is given `timeout_s`, None for ever.

    Bodies that take long to read or write are left to the threads of `bodies`.
    """

    def __init__(
        self,
        inference: Inference,
        management: Management,
        *,
        timeout_s: float | None,
        bodies: Threads,
    ) -> None:
        self._inference = inference
        self._management = management
        self._timeout_s = timeout_s
        self._bodies = bodies

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request. Raises a `SigrunError` for what went wrong."""
        wanted = route(request)
        match wanted.action:
            case "predict":
                return await self._predict(wanted.spec, request.body)
            case "metadata":
                return await self._metadata(wanted.spec)
            case _:
                return await self._status(wanted.spec)

    async def _predict(self, spec: ModelSpec, body: Body) -> HttpResponse:
        deadline = self._deadline()
        in_threads = len(body) >= _LARGE_BYTES
        predict = await self._convert(json_body.read, body, in_threads, deadline)

        async def bind(signature: Signature) -> Mapping[str, Array]:
            return await self._convert(predict.inputs, signature, in_threads, deadline)

        spec = dataclasses.replace(spec, signature_name=predict.signature_name)
        call = PredictCall(spec=spec, inputs=bind, deadline=deadline)
        outputs = (await self._inference.predict(call)).outputs
        write = json_outputs.predictions if predict.is_row else json_outputs.outputs
        in_threads = json_outputs.size(outputs) >= _LARGE_BYTES
        return HttpResponse(body=await self._convert(write, outputs, in_threads, deadline))

    async def _convert(
        self, convert: Callable[[T], U], value: T, in_threads: bool, deadline: float | None
    ) -> U:
        if not in_threads:
            return convert(value)
        return await self._bodies.run(convert, value, deadline=deadline)

    async def _metadata(self, spec: ModelSpec) -> HttpResponse:
        call = MetadataCall(spec=spec, fields=(METADATA_FIELD,), deadline=self._deadline())
        return json_response(documents.metadata(await self._inference.metadata(call)))

    async def _status(self, spec: ModelSpec) -> HttpResponse:
        call = StatusCall(spec=spec, deadline=self._deadline())
        return json_response(documents.status(await self._management.status(call)))

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s
