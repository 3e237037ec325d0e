"""TensorFlow Serving's REST API: each handler reads, calls, writes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from sigrun.errors import InvalidArgument
from sigrun.inference.calls import MetadataCall, ModelSpec, PredictCall
from sigrun.inference.management import ModelManagement
from sigrun.inference.service import METADATA_FIELD, InferenceService
from sigrun.servables.signature import Array, Signature
from sigrun.wire.http import documents, json_inputs, json_outputs
from sigrun.wire.http.messages import HttpRequest, HttpResponse, json_response
from sigrun.wire.http.routes import route


class RestApi:
    """Answers everything under `/v1/`. Inference is given `timeout_s`, None for ever."""

    def __init__(
        self,
        inference: InferenceService,
        management: ModelManagement,
        *,
        timeout_s: float | None,
    ) -> None:
        self._inference = inference
        self._management = management
        self._timeout_s = timeout_s

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request. Raises a `SigrunError` for what went wrong."""
        wanted = route(request)
        match wanted.action:
            case "predict":
                return await self._predict(wanted.spec, request.body)
            case "metadata":
                return await self._metadata(wanted.spec)
            case _:
                return json_response(documents.status(self._management.status(wanted.spec)))

    async def _predict(self, spec: ModelSpec, body: bytes) -> HttpResponse:
        document = json_inputs.predict_document(body)
        is_row = "instances" in document

        async def bind(signature: Signature) -> Mapping[str, Array]:
            return json_inputs.predict_inputs(document, signature)

        call = PredictCall(
            spec=_with_signature(spec, document), inputs=bind, deadline=self._deadline()
        )
        result = await self._inference.predict(call)
        write = json_outputs.predictions if is_row else json_outputs.outputs
        return HttpResponse(body=write(result.outputs))

    async def _metadata(self, spec: ModelSpec) -> HttpResponse:
        result = await self._inference.metadata(MetadataCall(spec=spec, fields=(METADATA_FIELD,)))
        return json_response(documents.metadata(result))

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s


def _with_signature(spec: ModelSpec, document: Mapping[str, Any]) -> ModelSpec:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidArgument(
            f"JSON Value: {json_inputs.excerpt(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return dataclasses.replace(spec, signature_name=name)
