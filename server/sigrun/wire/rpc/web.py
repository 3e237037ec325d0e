"""The services of the gRPC port over HTTP/1.1, for browsers: unary Connect and gRPC-Web.

In: POST /SERVICE/METHOD with a request as its content type says. Out: the response, the same
way. What answers are the RPCs of the gRPC port, bytes in and bytes out, so a protocol here is
no more than how a message, a time limit and an error are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from sigrun.concurrency.offload import Offload
from sigrun.concurrency.pace import Pace
from sigrun.errors import SigrunError, Unimplemented
from sigrun.inference.context import Door
from sigrun.wire.http.messages import Handler, HttpRequest, HttpResponse, WriteError
from sigrun.wire.rpc.connect import Connect, ConnectJson
from sigrun.wire.rpc.grpc_web import GrpcWeb, GrpcWebText
from sigrun.wire.rpcs import Services, StreamRpc, UnaryRpc

# Base64 and JSON are read and written byte by byte.
_S_PER_TEXT_BYTE = 25e-9


T = TypeVar("T")


class RpcProtocol(Protocol):
    """How one content type is spoken."""

    door: Door
    is_text: bool

    def timeout_s(self, headers: Mapping[bytes, bytes]) -> float | None:
        """Return the time that the caller gives. Raises `InvalidArgument`."""

    def read(self, request: HttpRequest) -> bytes:
        """Return the message in the body. Raises a `SigrunError` if there is none."""

    def write(self, reply: bytes, request: HttpRequest) -> HttpResponse:
        """Return the answer to `request`."""

    def error(self, error: SigrunError, content_type: bytes) -> HttpResponse:
        """Return what tells the caller of `error`."""


_PROTOCOLS: Mapping[bytes, RpcProtocol] = {
    b"application/proto": Connect(),
    b"application/json": ConnectJson(),
    b"application/grpc-web": GrpcWeb(),
    b"application/grpc-web+proto": GrpcWeb(),
    b"application/grpc-web-text": GrpcWebText(),
    b"application/grpc-web-text+proto": GrpcWebText(),
}


class RpcApi:
    """Answers the unary RPCs of `services`."""

    def __init__(self, services: Services, offload: Offload) -> None:
        self._services = services
        self._offload = offload

    def handlers(self) -> dict[str, Handler]:
        """Return what answers, by the first part of the path: the service."""
        return {f"/{service}/": self.respond for service in self._services}

    def error_writers(self) -> dict[str, WriteError]:
        """Return what writes errors, by the first part of the path."""
        return {f"/{service}/": self.error for service in self._services}

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to one request. Raises a `SigrunError` for what went wrong."""
        if request.method != "POST":
            return HttpResponse(body=b"", status=405, headers=[(b"allow", b"POST")])
        protocol = _PROTOCOLS.get(_media_type(request.headers))
        if protocol is None:
            headers = [(b"accept-post", b", ".join(_PROTOCOLS))]
            return HttpResponse(body=b"", status=415, headers=headers)
        answer = self._rpc(request.target)
        context = request.context(protocol.door, protocol.timeout_s(request.headers))

        async def convert(size: int, work: Callable[[Pace], T]) -> T:
            cost_s = size * _S_PER_TEXT_BYTE if protocol.is_text else 0.0
            return await self._offload.run(work, cost_s=cost_s, deadline=context.deadline)

        message = await convert(len(request.body), lambda _: protocol.read(request))
        reply = await answer(message, context)
        return await convert(len(reply), lambda _: protocol.write(reply, request))

    def error(self, error: SigrunError, headers: Mapping[bytes, bytes]) -> HttpResponse:
        """Return what tells the caller of `error`, in the protocol of the request."""
        content_type = _media_type(headers)
        return _PROTOCOLS.get(content_type, _PROTOCOLS[b"application/json"]).error(
            error, content_type
        )

    def _rpc(self, target: str) -> UnaryRpc:
        service, _, method = target.partition("?")[0][1:].partition("/")
        answer = self._services[service].get(method)
        if answer is None:
            raise Unimplemented(f"{service} has no method {method!r}")
        if isinstance(answer, StreamRpc):
            raise Unimplemented(f"{service}/{method} is a stream, which takes gRPC itself")
        return answer


def _media_type(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the content type without its parameters, of which only a charset occurs."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
