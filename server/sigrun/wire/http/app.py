"""The ASGI application on the HTTP port: read a request whole, find who answers, reply.

What is true of every path is here: the bounds on a request, its id, gzip, CORS, errors.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from sigrun.config.server import HttpOptions
from sigrun.errors import Internal, NotFound, SigrunError, Unavailable
from sigrun.executors.threads import Threads
from sigrun.telemetry import request_id
from sigrun.wire.http import compression, cors
from sigrun.wire.http.json_syntax import Body
from sigrun.wire.http.messages import (
    ClientGone,
    Handler,
    Header,
    HttpRequest,
    HttpResponse,
    RequestTooLarge,
    WriteError,
    error_response,
)
from sigrun.wire.http.watch import Receive, Watch

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REQUEST_ID = request_id.METADATA_KEY.encode()
_CHUNK_BYTES = 256 * 1024

_MIN_GZIP_BYTES = 4096  # what is smaller saves no time on its way
_LARGE_BYTES = 32 * 1024  # what takes longer to compress than to go to a thread


class HttpApp:
    """Answers by `handlers`: a path, or the first part of one with its slash -> who answers.

    Letter case counts only where a handler's path has capitals. Errors are written in REST's
    way, unless there is one of `error_writers` for the path. What takes long to unpack or to
    pack is left to the threads of `bodies`.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        options: HttpOptions,
        bodies: Threads,
        error_writers: Mapping[str, WriteError] | None = None,
    ) -> None:
        self._handlers = handlers
        self._error_writers = error_writers or {}
        self._options = options
        self._bodies = bodies
        self._cors_headers = cors.HEADERS if options.enable_cors else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (an ASGI application)."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        id = request_id.begin(headers.get(_REQUEST_ID, b"").decode("latin-1")).encode()
        watch = Watch(receive, self._options.body_timeout_s)
        try:
            body = await self._read_body(receive, headers, watch)
            response = await self.respond(_request(scope, headers, body))
        except ClientGone:
            return
        except SigrunError as error:
            response = self._error(error, scope["raw_path"].decode("latin-1"), headers)
        except asyncio.CancelledError:
            # Without a reason it is the end of the grace time. This is the whole task, so
            # it ends all the same.
            if isinstance(watch.reason, ClientGone):
                return
            ending = watch.reason or Unavailable("The server is stopping")
            response = self._error(ending, scope["raw_path"].decode("latin-1"), headers)
        finally:
            watch.stop()
        try:
            await _send(send, response, [(_REQUEST_ID, id), *self._cors_headers])
        except asyncio.CancelledError:
            if watch.reason is None:
                raise

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request, errors included."""
        try:
            if request.method == "OPTIONS":
                return cors.preflight(request)
            if b"content-encoding" in request.headers:
                request = await self._inflated(request)
            response = await self._handler(request)(request)
            if len(response.body) >= _MIN_GZIP_BYTES and b"accept-encoding" in request.headers:
                response = await self._deflated(response, request)
            return response
        except SigrunError as error:
            return self._error(error, request.target, request.headers)
        except Exception as error:
            logger.exception("%s %s failed unexpectedly", request.method, request.target)
            internal = Internal(f"{type(error).__name__}: {error}")
            return self._error(internal, request.target, request.headers)

    def _handler(self, request: HttpRequest) -> Handler:
        first_part = _first_part(request.target)
        handler = self._handlers.get(first_part) or self._handlers.get(first_part.lower())
        if handler is None:
            raise NotFound(f"Nothing is served at {request.method} {request.target}")
        return handler

    def _error(
        self, error: SigrunError, target: str, headers: Mapping[bytes, bytes]
    ) -> HttpResponse:
        write = self._error_writers.get(_first_part(target))
        return error_response(error) if write is None else write(error, headers)

    async def _inflated(self, request: HttpRequest) -> HttpRequest:
        if not compression.is_gzip(request.headers[b"content-encoding"]):
            return request
        max_bytes = self._options.max_inflated_bytes
        body = await self._bodies.run(compression.inflate, request.body, max_bytes)
        return dataclasses.replace(request, body=body)

    async def _deflated(self, response: HttpResponse, request: HttpRequest) -> HttpResponse:
        headers = (*response.headers, (b"vary", b"accept-encoding"))
        body = response.body
        if compression.accepts_gzip(request.headers[b"accept-encoding"]):
            if len(body) < _LARGE_BYTES:
                body = compression.deflate(body)
            else:
                body = await self._bodies.run(compression.deflate, body)
            headers += ((b"content-encoding", b"gzip"),)
        return dataclasses.replace(response, body=body, headers=headers)

    async def _read_body(
        self, receive: Receive, headers: Mapping[bytes, bytes], watch: Watch
    ) -> Body:
        """Return the body. Raises `RequestTooLarge` before it is there, if it says its length."""
        self._check_size(int(headers.get(b"content-length", b"0")))
        body: Body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("The client left before its request was complete")
            chunk = message.get("body", b"")
            watch.received_bytes += len(chunk)
            self._check_size(watch.received_bytes)
            if not body:
                body = chunk
            elif isinstance(body, bytearray):
                body += chunk  # moves pages, not bytes: no chunk waits for all that came before
            else:
                body = bytearray(body) + chunk
            if not message.get("more_body", False):
                watch.body_is_whole()
                return body

    def _check_size(self, size: int) -> None:
        max_bytes = self._options.max_body_bytes
        if size > max_bytes:
            raise RequestTooLarge(f"The body is larger than {max_bytes} bytes")


def _first_part(target: str) -> str:
    path = target.partition("?")[0]
    return path[: path.find("/", 1) + 1] or path


def _request(scope: Scope, headers: Mapping[bytes, bytes], body: Body) -> HttpRequest:
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    return HttpRequest(
        method=scope["method"], target=target.decode("latin-1"), headers=headers, body=body
    )


async def _send(send: Send, response: HttpResponse, more_headers: Sequence[Header]) -> None:
    body = response.body
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(body)),
        *response.headers,
        *more_headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    # In chunks, since the server copies what the socket does not take at once.
    for start in range(0, len(body) - _CHUNK_BYTES, _CHUNK_BYTES):
        chunk = body[start : start + _CHUNK_BYTES]
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    rest = max(0, (len(body) - 1) // _CHUNK_BYTES * _CHUNK_BYTES)
    await send({"type": "http.response.body", "body": body[rest:]})
