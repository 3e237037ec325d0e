"""RPCs on bytes as handlers of grpcio's server: make the context, map errors, once for all."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import NoReturn

import grpc

from sigrun.concurrency.budget import Budget
from sigrun.errors import Internal, SigrunError
from sigrun.inference.context import CallContext, Door, Metadata, Outcome
from sigrun.telemetry import request_id
from sigrun.telemetry.request_id import METADATA_KEY
from sigrun.wire.rpcs import Rpc, StreamRpc, UnaryRpc
from sigrun.wire.status import GRPC_STATUS, grpc_details

logger = logging.getLogger(__name__)

ServicerContext = grpc.aio.ServicerContext[bytes, bytes]


def service_handler(name: str, rpcs: Mapping[str, Rpc], budget: Budget) -> grpc.GenericRpcHandler:
    """Return the handler of service `name`, whose unary calls draw on `budget`."""
    return grpc.method_handlers_generic_handler(
        name,
        {rpc_name: _handler(f"{name}/{rpc_name}", rpc, budget) for rpc_name, rpc in rpcs.items()},
    )


def _handler(path: str, rpc: Rpc, budget: Budget) -> grpc.RpcMethodHandler[bytes, bytes]:
    if isinstance(rpc, StreamRpc):
        return grpc.stream_stream_rpc_method_handler(_stream(path, rpc))
    return grpc.unary_unary_rpc_method_handler(_unary(path, rpc, budget))


def _unary(
    path: str, rpc: UnaryRpc, budget: Budget
) -> Callable[[bytes, ServicerContext], Awaitable[bytes]]:
    async def handle(body: bytes, servicer: ServicerContext) -> bytes:
        try:
            with budget.holding(len(body)):
                return await rpc(body, _begin(servicer))
        except SigrunError as error:
            await _abort(servicer, error)
        except Exception as error:
            await _abort_unexpected(servicer, path, error)

    return handle


def _stream(
    path: str, rpc: StreamRpc
) -> Callable[[AsyncIterator[bytes], ServicerContext], AsyncIterator[bytes]]:
    async def handle(
        requests: AsyncIterator[bytes], servicer: ServicerContext
    ) -> AsyncIterator[bytes]:
        try:
            async for reply in rpc.answer(requests, _begin(servicer)):
                yield reply
        except SigrunError as error:
            await _abort(servicer, error)
        except Exception as error:
            await _abort_unexpected(servicer, path, error)

    return handle


def _begin(servicer: ServicerContext) -> CallContext:
    """Return the context of a call that has just come in, and name its id to the caller."""
    metadata = _joined(servicer.invocation_metadata() or ())
    id = request_id.begin(str(metadata.get(METADATA_KEY, "")))
    servicer.set_trailing_metadata(((METADATA_KEY, id),))
    remaining_s = servicer.time_remaining()
    return CallContext(
        door=Door.GRPC,
        request_id=id,
        deadline=None if remaining_s is None else time.monotonic() + remaining_s,
        peer=servicer.peer(),
        metadata=metadata,
        trace_parent=str(metadata.get("traceparent", "")),
        outcome=Outcome(),
    )


def _joined(pairs: Iterable[tuple[str, str | bytes]]) -> Metadata:
    joined: dict[str, str | bytes] = {}
    for name, value in pairs:
        earlier = joined.get(name)
        if isinstance(earlier, str) and isinstance(value, str):
            joined[name] = f"{earlier},{value}"
        else:
            joined[name] = value
    return joined


async def _abort_unexpected(servicer: ServicerContext, path: str, error: Exception) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):  # raised by `_abort` itself
        raise error
    logger.exception("%s failed unexpectedly", path)
    await _abort(servicer, Internal(f"{type(error).__name__}: {error}"))


async def _abort(servicer: ServicerContext, error: SigrunError) -> NoReturn:
    await servicer.abort(GRPC_STATUS[error.code], grpc_details(error))
    raise AssertionError("abort raises")
