"""The application on the HTTP port: a request comes in whole, find who answers it.

What is true of every path is here: the id of a request, gzip, CORS, errors.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping

from sigrun.concurrency.budget import Full
from sigrun.concurrency.offload import Offload
from sigrun.config.server import HttpOptions
from sigrun.errors import Internal, NotFound, SigrunError
from sigrun.telemetry import metrics, request_id
from sigrun.wire.http import compression, cors
from sigrun.wire.http.messages import (
    JSON,
    Handler,
    HttpRequest,
    HttpResponse,
    WriteError,
    error_response,
    first_part,
    refusal,
)
from sigrun.wire.transport.events import Problem, RequestHead, Response
from sigrun.wire.transport.exchange import BodyTooLarge, Exchange

logger = logging.getLogger(__name__)

_REQUEST_ID = request_id.METADATA_KEY.encode()
_COME_AGAIN = (b"retry-after", b"1")  # in seconds; room comes back quickly
_MIN_GZIP_BYTES = 4096  # what is smaller saves no time on its way
_UNAUTHORIZED = 401
_TEXTS = frozenset({JSON, metrics.CONTENT_TYPE})


class HttpApp:
    """Answers by `handlers`: a path, or the first part of one with its slash -> who answers.

    Letter case counts only where a handler's path has capitals. Errors are written in REST's
    way, unless there is one of `error_writers` for the path. What takes long to unpack or to
    pack goes to the threads of `offload`.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        options: HttpOptions,
        offload: Offload,
        error_writers: Mapping[str, WriteError] | None = None,
    ) -> None:
        self._handlers = handlers
        self._error_writers = error_writers or {}
        self._options = options
        self._offload = offload
        self._cors_headers = cors.HEADERS if options.enable_cors else ()

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, errors included."""
        head = exchange.head
        request = HttpRequest(
            method=head.method.decode("latin-1"),
            target=head.target.decode("latin-1"),
            headers=head.headers,
            peer=exchange.peer,
        )
        try:
            request.body = await exchange.read(self._options.max_body_bytes)
        except BodyTooLarge as error:
            exchange.respond(self.refuse(head, Problem.BODY_TOO_LARGE, str(error)))
        else:
            request.growth = exchange.growth
            exchange.respond(_as_response(await self.respond(request)))

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request whose body is there, errors included."""
        began = time.perf_counter()
        id = _begin(request.headers)
        request.id = id
        try:
            response = await self._respond(request)
        except SigrunError as error:
            response = self._error(error, request.target, request.headers)
        except Exception as error:
            logger.exception("%s %s failed unexpectedly", request.method, request.target)
            internal = Internal(f"{type(error).__name__}: {error}")
            response = self._error(internal, request.target, request.headers)
        headed = self._headed(response, id)
        if self._cors_headers and b"origin" in request.headers:
            timing = cors.server_timing(time.perf_counter() - began)
            headed.headers = (*headed.headers, timing)
        return headed

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        """Return what is said to a client whose request the transport refuses."""
        headers = {} if head is None else head.headers
        target = "" if head is None else head.target.decode("latin-1")
        response = self._error(refusal(problem, text), target, headers)
        return _as_response(self._headed(response, _begin(headers)))

    def _headed(self, response: HttpResponse, id: str) -> HttpResponse:
        return HttpResponse(
            body=response.body,
            status=response.status,
            content_type=response.content_type,
            headers=(*response.headers, (_REQUEST_ID, id.encode()), *self._cors_headers),
        )

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        if request.method == "OPTIONS":
            return cors.preflight(request, is_allowed=bool(self._cors_headers))
        if b"content-encoding" in request.headers:
            request = await self._inflated(request)
        response = await self._handler(request)(request)
        if b"accept-encoding" in request.headers and _is_worth_packing(response):
            response = await self._deflated(response, request)
        return response

    def _handler(self, request: HttpRequest) -> Handler:
        part = first_part(request.target)
        handler = self._handlers.get(part) or self._handlers.get(part.lower())
        if handler is None:
            raise NotFound(f"Nothing is served at {request.method} {request.target}")
        return handler

    def _error(
        self, error: SigrunError, target: str, headers: Mapping[bytes, bytes]
    ) -> HttpResponse:
        write = self._error_writers.get(first_part(target))
        response = error_response(error) if write is None else write(error, headers)
        if isinstance(error, Full):
            response.headers = (*response.headers, _COME_AGAIN)
        if response.status == _UNAUTHORIZED:  # HTTP asks for it; gRPC-Web's status is 200
            response.headers = (*response.headers, (b"www-authenticate", b"Bearer"))
        return response

    async def _inflated(self, request: HttpRequest) -> HttpRequest:
        if not compression.is_gzip(request.headers[b"content-encoding"]):
            return request
        max_bytes = self._options.max_inflated_bytes
        body = await self._offload.run(
            lambda _: compression.inflate(request.body, max_bytes, request.growth()),
            cost_s=compression.inflate_cost_s(request.body),
            deadline=self._deadline(),
        )
        return dataclasses.replace(request, body=body)

    async def _deflated(self, response: HttpResponse, request: HttpRequest) -> HttpResponse:
        headers = (*response.headers, (b"vary", b"accept-encoding"))
        body = response.body
        if compression.accepts_gzip(request.headers[b"accept-encoding"]):
            body = await self._offload.run(
                lambda _: compression.deflate(response.body),
                cost_s=compression.deflate_cost_s(response.body),
                deadline=self._deadline(),
            )
            headers += ((b"content-encoding", b"gzip"),)
        return dataclasses.replace(response, body=body, headers=headers)

    def _deadline(self) -> float | None:
        timeout_s = self._options.timeout_s
        return None if timeout_s is None else time.monotonic() + timeout_s


def _begin(headers: Mapping[bytes, bytes]) -> str:
    """Begin a request, under the id that the client gave or a new one, and return the id."""
    return request_id.begin(headers.get(_REQUEST_ID, b"").decode("latin-1"))


def _as_response(response: HttpResponse) -> Response:
    headers = ((b"content-type", response.content_type), *response.headers)
    return Response(response.status, headers, response.body)


def _is_worth_packing(response: HttpResponse) -> bool:
    """Tell whether gzip would make it much shorter; numbers in binary hardly shrink."""
    return len(response.body) >= _MIN_GZIP_BYTES and response.content_type in _TEXTS
