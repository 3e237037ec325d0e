"""From RPCs on bytes to gRPC handlers: pass the deadline on, map errors once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

import grpc

from sigrun.errors import Internal, SigrunError
from sigrun.wire.grpc.arrivals import Arrivals
from sigrun.wire.status import GRPC_STATUS, grpc_details
from sigrun.wire.unary import UnaryRpc

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]


def service_handler(
    name: str, methods: Mapping[str, UnaryRpc], arrivals: Arrivals
) -> grpc.GenericRpcHandler:
    """Return the handler of service `name`, to be added to a server."""
    return grpc.method_handlers_generic_handler(
        name,
        {
            method_name: grpc.unary_unary_rpc_method_handler(
                _handle(f"{name}/{method_name}", method, arrivals)
            )
            for method_name, method in methods.items()
        },
    )


def _handle(
    path: str, answer: UnaryRpc, arrivals: Arrivals
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(body: bytes, context: Context) -> bytes:
        try:
            has_company = await arrivals.together()
            response = await answer(body, _deadline(context))
            if has_company:
                await asyncio.sleep(0)  # so that the answers leave one right after the other
            return response
        except SigrunError as error:
            await _abort(context, error)
        except Exception as error:
            logger.exception("%s failed unexpectedly", path)
            await _abort(context, Internal(f"{type(error).__name__}: {error}"))

    return handle


def _deadline(context: Context) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


async def _abort(context: Context, error: SigrunError) -> NoReturn:
    await context.abort(GRPC_STATUS[error.code], grpc_details(error))
    raise AssertionError("abort raises")
