"""Calls to the servers upstream, bytes in and bytes out.

gRPC itself resolves names, goes round the servers, watches their health (`grpc.health.v1`;
one that does not serve it counts as healthy) and comes back to those that were away. It can
do so for one name, or for a list of addresses. Several names get a channel each, and calls go
round the channels, past those that gRPC says have no server to offer.

A call is never sent again once a server may have begun with it. gRPC does so by itself for
one that no server has seen.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Sequence

import grpc

from sigrun._gen.sigrun.v1 import model_management_pb2
from sigrun._gen.tensorflow_serving.apis import model_service_pb2, prediction_service_pb2
from sigrun.config.gateway import UpstreamOptions, UpstreamTls
from sigrun.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    SigrunError,
    error_for,
)
from sigrun.inference.context import CallContext
from sigrun.telemetry.request_id import METADATA_KEY
from sigrun.wire.rpcs import Services, UnaryRpc

_SERVICES = (
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    model_management_pb2.DESCRIPTOR.services_by_name["ModelManagementService"],
)
_CHANGES = {"HandleReloadConfigRequest", "LoadModel", "UnloadModel", "ReloadModel", "SetLabels"}

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},  # the server as a whole
}
_OPTIONS: dict[str, str | int] = {
    "grpc.service_config": json.dumps(_SERVICE_CONFIG),
    "grpc.service_config_disable_resolution": 1,  # whoever owns the name does not configure us
    # Tensors are larger than gRPC's default of 4 MB.
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    # A server that vanishes without a word is noticed while calls wait for it.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    # One that comes back takes its share again within seconds.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 2_000,
    "grpc.max_reconnect_backoff_ms": 5_000,
    # Two gateways in one process, as in tests, share nothing.
    "grpc.use_local_subchannel_pool": 1,
}
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+")
_IPV6 = re.compile(r"\[[0-9a-fA-F:.]+\]:\d+")

# What gRPC says of a deadline that passes here, where a server has words of its own.
_OWN_TIMED_OUT = "Deadline Exceeded"

_Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

# Which of several channels is asked first.
_RANK = {
    grpc.ChannelConnectivity.READY: 0,
    grpc.ChannelConnectivity.IDLE: 1,
    grpc.ChannelConnectivity.CONNECTING: 1,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE: 2,
    grpc.ChannelConnectivity.SHUTDOWN: 3,
}


class Upstream:
    """The servers. To be made on the event loop that calls them, and closed once."""

    def __init__(self, options: UpstreamOptions) -> None:
        arguments = {**_OPTIONS, **options.channel_arguments}
        if options.tls is not None and options.tls.server_name:
            arguments["grpc.ssl_target_name_override"] = options.tls.server_name
        self._channels = [
            _channel(target, options.tls, arguments) for target in targets(options.addresses)
        ]
        self._authorization = (
            (("authorization", f"Bearer {options.token}"),) if options.token else ()
        )
        self._turns = itertools.count()
        self._count = len(options.addresses)
        for channel in self._channels:
            channel.get_state(try_to_connect=True)

    async def close(self) -> None:
        """Give up the calls under way, and every connection."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def services(self) -> Services:
        """Return every RPC that the servers serve, passed on as it comes.

        Of several servers, a change of the models would reach one: it is refused.
        """
        return {
            service.full_name: {
                method.name: _refused(method.name, self._count)
                if method.name in _CHANGES and self._count > 1
                else self.method(f"/{service.full_name}/{method.name}")
                for method in service.methods
            }
            for service in _SERVICES
        }

    def method(self, path: str) -> UnaryRpc:
        """Return the unary RPC at `path`, such as `/grpc.health.v1.Health/Check`.

        It raises what the server answers, `Unavailable` if none can be reached, and
        `DeadlineExceeded`. Who is cancelled while it waits, cancels the call.
        """
        calls: list[_Call] = [channel.unary_unary(path) for channel in self._channels]
        only = calls[0] if len(calls) == 1 else None

        async def answer(body: bytes, context: CallContext) -> bytes:
            metadata = (*_metadata(context), *self._authorization)
            return await _ask(only or self._choose(calls), body, context, metadata)

        return answer

    def _choose(self, calls: Sequence[_Call]) -> _Call:
        turn = next(self._turns)
        order = ((turn + step) % len(calls) for step in range(len(calls)))
        return calls[min(order, key=self._rank)]

    def _rank(self, index: int) -> int:
        return _RANK[self._channels[index].get_state(try_to_connect=True)]


def targets(addresses: Sequence[str]) -> Sequence[str]:
    """Return the gRPC targets for `addresses`: one if gRPC can take them as one."""
    if len(addresses) > 1:
        for scheme, pattern in (("ipv4", _IPV4), ("ipv6", _IPV6)):
            if all(map(pattern.fullmatch, addresses)):
                return [f"{scheme}:{','.join(addresses)}"]
    return list(addresses)


def _channel(
    target: str, tls: UpstreamTls | None, arguments: dict[str, str | int]
) -> grpc.aio.Channel:
    options = list(arguments.items())
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.ca or None,
        private_key=tls.client_key or None,
        certificate_chain=tls.client_cert or None,
    )
    return grpc.aio.secure_channel(target, credentials, options=options)


async def _ask(
    method: _Call, body: bytes, context: CallContext, metadata: Sequence[tuple[str, str]]
) -> bytes:
    timeout_s = None
    if context.deadline is not None:
        timeout_s = context.deadline - time.monotonic()
        if timeout_s <= 0:
            raise DeadlineExceeded
    call = method(body, timeout=timeout_s, metadata=metadata)
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _error(error) from None
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        # gRPC raises this also for a server that answers with the code.
        raise Cancelled(await call.details()) from None


def _refused(method: str, count: int) -> UnaryRpc:
    async def refuse(_body: bytes, _context: CallContext) -> bytes:
        raise FailedPrecondition(
            f"This gateway stands in front of {count} servers, and {method} would change the "
            "models of one of them: ask each server itself"
        )

    return refuse


def _metadata(context: CallContext) -> tuple[tuple[str, str], ...]:
    """Return what goes on to the server: what tells it which request this is part of."""
    pairs = (
        (METADATA_KEY, context.request_id),
        ("traceparent", context.trace_parent),
        ("tracestate", context.trace_state),
    )
    return tuple(pair for pair in pairs if pair[1])


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _error(error: grpc.aio.AioRpcError) -> SigrunError:
    number: int = error.code().value[0]
    text = error.details() or ""
    return DeadlineExceeded() if text == _OWN_TIMED_OUT else error_for(number, text)
