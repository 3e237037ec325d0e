"""From a service method to a gRPC handler: decode, call, encode, map errors once.

A service is a table of `Method`s. Requests arrive as bytes and are parsed here, so that a
body that does not parse is the caller's mistake and is answered as one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from sigrun.errors import Internal, InvalidArgument, SigrunError
from sigrun.wire.status import GRPC_STATUS, grpc_details

logger = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One unary RPC: its request type and what answers it.

    `answer` takes the request and its deadline, in `time.monotonic` seconds or None.
    """

    request: type[Request]
    answer: Callable[[Request, float | None], Awaitable[Response]]


def service_handler(name: str, methods: Mapping[str, Method[Any, Any]]) -> grpc.GenericRpcHandler:
    """Return the handler of service `name`, to be added to a server."""
    return grpc.method_handlers_generic_handler(
        name,
        {
            method_name: grpc.unary_unary_rpc_method_handler(_handle(f"{name}/{method_name}", m))
            for method_name, m in methods.items()
        },
    )


def _handle(
    path: str, method: Method[Request, Response]
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(body: bytes, context: Context) -> bytes:
        try:
            response = await method.answer(_parse(method.request, body), _deadline(context))
            return response.SerializeToString()
        except SigrunError as error:
            await _abort(context, error)
        except Exception as error:
            logger.exception("%s failed unexpectedly", path)
            await _abort(context, Internal(f"{type(error).__name__}: {error}"))

    return handle


def _parse(kind: type[Request], body: bytes) -> Request:
    try:
        return kind.FromString(body)
    except DecodeError:
        raise InvalidArgument(
            f"The {len(body)} bytes sent are not a {kind.DESCRIPTOR.full_name}"
        ) from None


def _deadline(context: Context) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


async def _abort(context: Context, error: SigrunError) -> NoReturn:
    await context.abort(GRPC_STATUS[error.code], grpc_details(error))
    raise AssertionError("abort raises")
