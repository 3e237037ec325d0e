"""What the settings mean to gRPC, alike for channels of both kinds; and its errors as ours."""

from __future__ import annotations

import json
from collections.abc import Sequence

import grpc

from sigrun_client._addresses import DEFAULT_PORT
from sigrun_client._errors import ServerError, server_error
from sigrun_client._options import KeepAlive, Options, Retries, Tls
from sigrun_client._version import USER_AGENT

COMPRESSION = {
    None: grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}

_MAX_ATTEMPTS = 5  # gRPC's own limit
# Where there is another address to turn to, one that does not answer is given up sooner than
# after gRPC's 20 s.
_CONNECT_TIMEOUT_MS = 5_000
# Is in what gRPC says of a peer whose first bytes are `HTTP/1.`.
_HTTP_1 = "http1.x server"
_WRONG_PORT = (
    "that port speaks HTTP/1.1: perhaps it is the server's REST port; "
    f"gRPC has a port of its own, usually {DEFAULT_PORT}"
)


def channel_arguments(options: Options, *, is_one_of_many: bool) -> Sequence[tuple[str, str | int]]:
    """Return what a channel to one address is made with.

    One of many is not retried here: the next attempt belongs to another address.
    """
    arguments: dict[str, str | int] = {
        "grpc.primary_user_agent": USER_AGENT,
        "grpc.max_send_message_length": options.max_message_bytes,
        "grpc.max_receive_message_length": options.max_message_bytes,
        "grpc.service_config": _service_config(options.retries, is_retried=not is_one_of_many),
        # gRPC sends no message again that it has not kept.
        "grpc.per_rpc_retry_buffer_size": options.max_message_bytes,
    }
    if is_one_of_many:
        arguments["grpc.min_reconnect_backoff_ms"] = _CONNECT_TIMEOUT_MS
    if options.tls and options.tls.server_name:
        arguments["grpc.ssl_target_name_override"] = options.tls.server_name
    if options.keep_alive:
        arguments |= _keep_alive(options.keep_alive)
    return tuple(arguments.items())


def _service_config(retries: Retries, *, is_retried: bool) -> str:
    """Return gRPC's own description: a name's addresses take turns, UNAVAILABLE is retried."""
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if is_retried and retries.attempts > 1:
        policy = {
            "maxAttempts": min(retries.attempts, _MAX_ATTEMPTS),
            "initialBackoff": f"{retries.initial_backoff_s:.3f}s",
            "maxBackoff": f"{retries.max_backoff_s:.3f}s",
            "backoffMultiplier": retries.backoff_multiplier,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}]
    return json.dumps(config)


def _keep_alive(keep_alive: KeepAlive) -> dict[str, int]:
    return {
        "grpc.keepalive_time_ms": round(keep_alive.interval_s * 1000),
        "grpc.keepalive_timeout_ms": round(keep_alive.timeout_s * 1000),
        "grpc.keepalive_permit_without_calls": int(keep_alive.without_calls),
        "grpc.http2.max_pings_without_data": 0,
    }


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return what gRPC makes of certificates."""
    return grpc.ssl_channel_credentials(
        root_certificates=tls.root_certificates,
        private_key=tls.private_key,
        certificate_chain=tls.certificate_chain,
    )


def call_error(error: grpc.RpcError) -> ServerError:
    """Return our error for gRPC's; both kinds of channel raise one with code and details."""
    code: grpc.StatusCode = error.code()
    text = error.details() or ""
    if _HTTP_1 in text:
        text = f"{_WRONG_PORT} ({text})"
    return server_error(code.name, text)
