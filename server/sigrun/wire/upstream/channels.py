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
import ssl
import time
from collections.abc import Mapping, Sequence

import grpc

from sigrun._gen.sigrun.v1 import model_management_pb2
from sigrun._gen.tensorflow_serving.apis import model_service_pb2, prediction_service_pb2
from sigrun.config.gateway import UpstreamOptions, UpstreamTls
from sigrun.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    SigrunError,
    error_for,
)
from sigrun.inference.context import CallContext
from sigrun.telemetry.request_id import METADATA_KEY
from sigrun.wire.certificates import load_identity
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

_LAST_CALLS_S = 60.0  # for calls on connections that other certificates have taken the place of

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
        self._targets = targets(options.addresses)
        self._arguments = {**_OPTIONS, **options.channel_arguments}
        self._count = len(options.addresses)
        self._channels = _Channels(self._targets, options.tls, self._arguments)
        self._leaving: dict[_Channels, asyncio.Task[None]] = {}
        self.use_token(options.token)

    def use_token(self, token: str) -> None:
        """Show this token to the servers from now on; empty: none."""
        self._authorization = (("authorization", f"Bearer {token}"),) if token else ()

    async def use_tls(self, tls: UpstreamTls) -> None:
        """Make new connections with these certificates, for every call from now on.

        Calls under way have a minute to end on those before. Raises `InvalidArgument` for
        certificates that cannot be used; those before stay then.
        """
        await check_tls(tls)
        leaving = self._channels
        self._channels = _Channels(self._targets, tls, self._arguments)
        closing = asyncio.create_task(leaving.close(_LAST_CALLS_S), name="connections upstream")
        self._leaving[leaving] = closing
        closing.add_done_callback(lambda _: self._leaving.pop(leaving))

    async def close(self) -> None:
        """Give up the calls under way, and every connection."""
        leaving = dict(self._leaving)
        for closing in leaving.values():
            closing.cancel()
        await asyncio.gather(*leaving.values(), return_exceptions=True)
        await asyncio.gather(*(each.close(None) for each in (self._channels, *leaving)))

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

        async def answer(body: bytes, context: CallContext) -> bytes:
            metadata = (*_metadata(context), *self._authorization)
            return await _ask(self._channels.call(path), body, context, metadata)

        return answer


class _Channels:
    """A channel to each target, all with the same certificates."""

    def __init__(
        self, targets: Sequence[str], tls: UpstreamTls | None, arguments: Mapping[str, str | int]
    ) -> None:
        arguments = dict(arguments)
        if tls is not None and tls.server_name:
            arguments["grpc.ssl_target_name_override"] = tls.server_name
        self._channels = [_channel(target, tls, arguments) for target in targets]
        self._calls: dict[str, list[_Call]] = {}
        self._turns = itertools.count()
        for channel in self._channels:
            channel.get_state(try_to_connect=True)

    async def close(self, grace_s: float | None) -> None:
        """Begin no more calls, and give up those that have not ended within `grace_s`."""
        await asyncio.gather(*(channel.close(grace_s) for channel in self._channels))

    def call(self, path: str) -> _Call:
        """Return the RPC at `path`, on the channel whose turn it is."""
        calls = self._calls.get(path)
        if calls is None:  # paths are those of our own services
            calls = self._calls[path] = [channel.unary_unary(path) for channel in self._channels]
        return calls[0] if len(calls) == 1 else self._choose(calls)

    def _choose(self, calls: Sequence[_Call]) -> _Call:
        turn = next(self._turns)
        order = ((turn + step) % len(calls) for step in range(len(calls)))
        return calls[min(order, key=self._rank)]

    def _rank(self, index: int) -> int:
        return _RANK[self._channels[index].get_state(try_to_connect=True)]


async def check_tls(tls: UpstreamTls | None) -> None:
    """Raise `InvalidArgument` for certificates that cannot be used; gRPC would only log it."""
    if tls is not None:
        await asyncio.to_thread(_check_tls, tls)


def _check_tls(tls: UpstreamTls) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if tls.ca:
            context.load_verify_locations(cadata=tls.ca.decode())
        if tls.client_cert:
            load_identity(context, certificate=tls.client_cert, key=tls.client_key)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgument(
            f"cannot use the certificates for the servers upstream: {error}"
        ) from None


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
