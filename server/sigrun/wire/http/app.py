"""The ASGI application on the HTTP port: read a request whole, find who answers, reply."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sigrun.errors import Internal, NotFound, SigrunError, Unavailable
from sigrun.inference.backend import Management
from sigrun.wire.http.json_syntax import Body
from sigrun.wire.http.messages import HttpRequest, HttpResponse, error_response, json_response
from sigrun.wire.http.rest import RestApi

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# gRPC's own bound on a message, so that both doors take the same.
_MAX_BODY_BYTES = 2**31 - 1
_CHUNK_BYTES = 256 * 1024


class HttpApp:
    """REST under `/v1/`, `/livez` and `/readyz` beside it."""

    def __init__(self, rest: RestApi, management: Management) -> None:
        self._rest = rest
        self._management = management

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (an ASGI application)."""
        if scope["type"] != "http":
            return
        try:
            response = await self.respond(_request(scope, await _read_body(receive)))
        except ConnectionError:
            return  # nobody is left to answer
        except SigrunError as error:
            response = dataclasses.replace(error_response(error), status=413)
        except asyncio.CancelledError:
            # The end of the grace time. This is the whole task, so it ends all the same.
            response = error_response(Unavailable("The server is stopping"))
        await _send(send, response)

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request, errors included."""
        try:
            return await self._dispatch(request)
        except SigrunError as error:
            return error_response(error)
        except Exception as error:
            logger.exception("%s %s failed unexpectedly", request.method, request.target)
            return error_response(Internal(f"{type(error).__name__}: {error}"))

    async def _dispatch(self, request: HttpRequest) -> HttpResponse:
        path = request.target.partition("?")[0]
        if path.lower().startswith("/v1/"):
            return await self._rest.respond(request)
        match path:
            case "/livez":
                return json_response({"status": "alive"})
            case "/readyz":
                return await self._ready()
            case _:
                raise NotFound(f"Nothing is served at {request.method} {request.target}")

    async def _ready(self) -> HttpResponse:
        blockers = await self._management.blockers()
        if blockers:
            return json_response({"status": "not ready", "reasons": blockers}, status=503)
        return json_response({"status": "ready"})


def _request(scope: Scope, body: Body) -> HttpRequest:
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    return HttpRequest(method=scope["method"], target=target.decode("latin-1"), body=body)


async def _read_body(receive: Receive) -> Body:
    body: Body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left before its request was complete")
        chunk = message.get("body", b"")
        if len(body) + len(chunk) > _MAX_BODY_BYTES:
            raise SigrunError(f"The body is larger than {_MAX_BODY_BYTES} bytes")
        if not body:
            body = chunk
        elif isinstance(body, bytearray):
            body += chunk  # moves pages, not bytes: no chunk waits for all that came before
        else:
            body = bytearray(body) + chunk
        if not message.get("more_body", False):
            return body


async def _send(send: Send, response: HttpResponse) -> None:
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
    ]
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": headers,
        }
    )
    body = response.body
    # In chunks, since the server copies what the socket does not take at once.
    for start in range(0, len(body) - _CHUNK_BYTES, _CHUNK_BYTES):
        chunk = body[start : start + _CHUNK_BYTES]
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    rest = max(0, (len(body) - 1) // _CHUNK_BYTES * _CHUNK_BYTES)
    await send({"type": "http.response.body", "body": body[rest:]})
