"""gRPC on an exchange of the transport: frames in and out, a status behind them.

As PROTOCOL-HTTP2.md of gRPC says. Errors are trailers-only answers. A call whose deadline passes
is answered DEADLINE_EXCEEDED here: a client that resets the stream has seen it pass by itself,
and a proxy between the two needs an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from sigrun.concurrency.budget import Growth
from sigrun.concurrency.offload import Offload
from sigrun.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    SigrunError,
    Unimplemented,
)
from sigrun.inference.context import CallContext, Door, Outcome
from sigrun.telemetry import request_id
from sigrun.wire.http.messages import HeaderMetadata, refusal
from sigrun.wire.rpc import compression, framing
from sigrun.wire.rpc.framing import COMPRESSED, HEAD_BYTES, MESSAGE, frame_head
from sigrun.wire.rpcs import Rpc, Services, StreamRpc
from sigrun.wire.status import grpc_details
from sigrun.wire.transport.events import VARYING, Fields, Problem, RequestHead, Response
from sigrun.wire.transport.exchange import BodyTooLarge, Exchange

logger = logging.getLogger(__name__)

CONTENT_TYPE = b"application/grpc"
_GRPC_WEB = b"application/grpc-web"

_REQUEST_ID = request_id.METADATA_KEY.encode()
_HEADERS: Fields = (
    (b"content-type", CONTENT_TYPE),
    (b"grpc-accept-encoding", compression.ACCEPTED),
)
_OK = (b"grpc-status", b"0")
_LARGE_BYTES = 16 * 1024  # of a message: below, a copy costs less than to send it in two parts
_MESSAGE_HEADS = [frame_head(MESSAGE, size) for size in range(1024)]

# In Python 3.11, to look up the member of an enum costs as much as to call a function, and to make
# a NamedTuple by its own name calls one.
_GRPC: Final = Door.GRPC
_new = tuple.__new__


class _NotGrpc(Exception):
    """A request that is no call of gRPC."""


class _Route(NamedTuple):
    """What is the same for all calls with the same head; remembered there."""

    path: str
    rpc: Rpc
    encoding: bytes | None
    metadata: HeaderMetadata
    varies: bool  # it says something of time, id or trace, and another call may say another thing


class Grpc:
    """Answers the RPCs of `services`; each message has `max_message_bytes` at most."""

    def __init__(self, services: Services, offload: Offload, *, max_message_bytes: int) -> None:
        self._rpcs = {
            f"/{service}/{name}".encode(): rpc
            for service, rpcs in services.items()
            for name, rpc in rpcs.items()
        }
        self._services = frozenset(services)
        self._offload = offload
        self._max_message_bytes = max_message_bytes

    async def serve(self, exchange: Exchange) -> None:
        """Answer one call."""
        head = exchange.head
        id = request_id.begin(head.headers.get(_REQUEST_ID, b"").decode("latin-1"))
        timer = None
        try:
            base = head.base or head
            route: _Route = base.memo or self._route(base)
            context = _context(head, route, exchange.peer, id)
            rpc = route.rpc
            if isinstance(rpc, StreamRpc):
                await self._stream(exchange, route, rpc, context)
                return
            if context.deadline is not None:
                left_s = context.deadline - time.monotonic()
                timer = asyncio.get_running_loop().call_later(left_s, _expire, exchange, id)
            message = self._whole_message(exchange)
            reply = await rpc(message or await self._message(exchange, route, context), context)
        except _NotGrpc:
            exchange.respond(_not_grpc(head))
        except SigrunError as error:
            exchange.respond(_failure(error, id))
        except Exception as error:
            logger.exception("%s failed unexpectedly", head.target.decode("latin-1"))
            exchange.respond(_failure(Internal(f"{type(error).__name__}: {error}"), id))
        else:
            exchange.respond(_reply(reply, id))
        finally:
            if timer is not None:
                timer.cancel()

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        """Return what is said to a client whose call the transport refuses."""
        return _failure(refusal(problem, text), request_id.begin())

    def _route(self, head: RequestHead) -> _Route:
        """Return what answers calls with this head.

        Raises `Unimplemented` if nothing does, `_NotGrpc` for what is no call.
        """
        if not is_grpc(head):
            raise _NotGrpc
        target = head.target.partition(b"?")[0]
        path = target.decode("latin-1")
        rpc = self._rpcs.get(target)
        if rpc is None:
            service, _, name = path[1:].partition("/")
            known = ", ".join(sorted(self._services))
            raise Unimplemented(
                f"{service} has no method {name!r}"
                if service in self._services
                else f"No service is named {service!r}; there are {known}"
            )
        if head.method != b"POST":
            raise InvalidArgument(f"gRPC is POST, not {head.method.decode('latin-1')}")
        encoding = head.headers.get(b"grpc-encoding")
        route = head.memo = _Route(
            path,
            rpc,
            None if encoding == b"identity" else encoding,
            HeaderMetadata(head.headers),
            not VARYING.isdisjoint(head.headers),
        )
        return route

    def _whole_message(self, exchange: Exchange) -> bytes | None:
        """Do what `_message` does for a small message that is here, as most are; else None."""
        body = exchange.small_body
        if body is None or body[0] != MESSAGE or len(body) > self._max_message_bytes:
            return None
        return body[HEAD_BYTES:] if framing.size_after(body) == len(body) - HEAD_BYTES else None

    async def _message(self, exchange: Exchange, route: _Route, context: CallContext) -> bytes:
        """Return the only message of a unary call."""
        try:
            head, body = await exchange.read_framed(
                HEAD_BYTES, framing.size_after, self._max_message_bytes
            )
        except BodyTooLarge:
            raise _too_large(self._max_message_bytes) from None
        if len(head) < HEAD_BYTES:
            raise Internal(f"A unary call has one message, and {len(head)} bytes came")
        size = framing.size_after(head)
        if size != len(body):
            raise Unimplemented(
                f"A unary call has one message: it says {size} bytes, and {len(body)} came"
            )
        message = bytes(body)  # as a rule it is
        if head[0] == MESSAGE:
            return message
        return await self._inflated(head[0], message, route, context, exchange.growth())

    async def _inflated(
        self, flags: int, message: bytes, route: _Route, context: CallContext, growth: Growth
    ) -> bytes:
        encoding = route.encoding
        if flags != COMPRESSED or encoding is None:
            raise Internal(
                f"A message has flags {flags:#04x}, and grpc-encoding is "
                f"{(encoding or b'identity').decode('latin-1')}"
            )
        return await self._offload.run(
            lambda _: compression.inflate(message, encoding, self._max_message_bytes, growth),
            cost_s=compression.cost_s(message),
            deadline=context.deadline,
        )

    # Streams.

    async def _stream(
        self, exchange: Exchange, route: _Route, rpc: StreamRpc, context: CallContext
    ) -> None:
        await exchange.as_task()
        is_started = False
        error: SigrunError | None = None
        left_s = None if context.deadline is None else context.deadline - time.monotonic()
        try:
            async with (
                asyncio.timeout(left_s),
                contextlib.aclosing(self._messages(exchange, route, context)) as messages,
            ):
                async for reply in rpc.answer(messages, context):
                    if not is_started:
                        await exchange.start(200, _HEADERS)
                        is_started = True
                    await exchange.write(frame_head(MESSAGE, len(reply)) + reply)
        except TimeoutError:
            error = DeadlineExceeded()
        except SigrunError as failed:
            error = failed
        except Exception as failed:
            logger.exception("%s failed unexpectedly", route.path)
            error = Internal(f"{type(failed).__name__}: {failed}")
        if error is not None and not is_started:
            exchange.respond(_failure(error, context.request_id))
            return
        if not is_started:
            await exchange.start(200, _HEADERS)
        exchange.finish(_status(error, context.request_id))

    async def _messages(
        self, exchange: Exchange, route: _Route, context: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Yield the messages of a stream as they come."""
        received = bytearray()
        async for piece in exchange.pieces():
            received += piece
            while len(received) >= HEAD_BYTES:
                end = HEAD_BYTES + int.from_bytes(received[1:HEAD_BYTES], "big")
                if end > self._max_message_bytes:
                    raise _too_large(self._max_message_bytes)
                if len(received) < end:
                    break
                flags, message = received[0], bytes(received[HEAD_BYTES:end])
                del received[:end]
                if flags != MESSAGE:
                    growth = exchange.growth()
                    message = await self._inflated(flags, message, route, context, growth)
                    growth.give_back()  # a message of a stream is small, and soon gone
                yield message
            exchange.still_holds(len(received))
        if received:
            raise Internal(f"The stream ended inside of a message: {len(received)} bytes of it")


def _context(head: RequestHead, route: _Route, peer: str, id: str) -> CallContext:
    if head.base is None and not route.varies:
        return _new(CallContext, (_GRPC, id, None, peer, route.metadata, "", "", Outcome()))
    headers = head.headers
    left_s = framing.timeout_s(headers)
    deadline = None if left_s is None else time.monotonic() + left_s
    trace_parent = headers.get(b"traceparent", b"").decode("latin-1")
    metadata = HeaderMetadata(headers, route.metadata)
    return _new(CallContext, (_GRPC, id, deadline, peer, metadata, trace_parent, "", Outcome()))


def _expire(exchange: Exchange, id: str) -> None:
    """Answer a call whose time is up, and give its work up."""
    exchange.respond(_failure(DeadlineExceeded(), id))
    if exchange.task is not None:
        exchange.task.cancel()


def _reply(reply: bytes, id: str) -> Response:
    size, trailers = len(reply), (_OK, (_REQUEST_ID, id.encode()))
    frame = _MESSAGE_HEADS[size] if size < len(_MESSAGE_HEADS) else frame_head(MESSAGE, size)
    if size < _LARGE_BYTES:
        return _new(Response, (200, _HEADERS, frame + reply, trailers, b""))
    return Response(200, _HEADERS, reply, trailers, frame)


def _failure(error: SigrunError, id: str) -> Response:
    """Return a trailers-only answer."""
    return Response(200, ((b"content-type", CONTENT_TYPE), *_status(error, id)))


def _status(error: SigrunError | None, id: str) -> Fields:
    if error is None:
        return (_OK, (_REQUEST_ID, id.encode()))
    return (
        (b"grpc-status", b"%d" % error.code),
        (b"grpc-message", framing.quoted(grpc_details(error))),
        (_REQUEST_ID, id.encode()),
    )


def is_grpc(head: RequestHead) -> bool:
    """Return whether a request is gRPC itself."""
    content_type = head.headers.get(b"content-type", b"")
    return content_type == CONTENT_TYPE or (
        content_type.startswith(CONTENT_TYPE) and not content_type.startswith(_GRPC_WEB)
    )


def _not_grpc(head: RequestHead) -> Response:
    content_type = head.headers.get(b"content-type", b"none").decode("latin-1")
    text = (
        f"This port speaks gRPC, whose content-type is {CONTENT_TYPE.decode()}, not "
        f"{content_type}. JSON, gRPC-Web and Connect are on the HTTP port (--rest_api_port).\n"
    )
    return Response(415, ((b"content-type", b"text/plain"),), text.encode())


def _too_large(max_bytes: int) -> ResourceExhausted:
    return ResourceExhausted(f"Received message larger than max: more than {max_bytes} bytes")
