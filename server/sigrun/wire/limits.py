"""What the transport puts up with, from what a user has set.

gRPC's own channel arguments are honoured by the names that C-core gives them, whatever the
transport; what has no meaning for ours is said in the log once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from sigrun.config.server import GrpcOptions, HttpOptions
from sigrun.errors import InvalidArgument
from sigrun.wire.transport.limits import Limits

logger = logging.getLogger(__name__)

_MIN_BODY_BYTES_PER_S = 64 * 1024
_MAX_MESSAGE_BYTES = 2**31 - 1
_INT_MAX = 2**31 - 1  # C-core's word for "no limit" in times
_MESSAGE_LENGTH = "grpc.max_receive_message_length"


def _seconds(milliseconds: int) -> float:
    return math.inf if milliseconds >= _INT_MAX else milliseconds / 1000


_ARGUMENTS: Mapping[str, tuple[str, Callable[[int], Any]]] = {
    "grpc.max_connection_age_ms": ("max_connection_age_s", _seconds),
    "grpc.max_connection_age_grace_ms": ("max_connection_age_grace_s", _seconds),
    "grpc.max_connection_idle_ms": ("max_connection_idle_s", _seconds),
    "grpc.keepalive_time_ms": ("keepalive_interval_s", _seconds),
    "grpc.keepalive_timeout_ms": ("keepalive_timeout_s", _seconds),
    "grpc.max_concurrent_streams": ("max_concurrent_streams", int),
    "grpc.max_metadata_size": ("max_head_bytes", int),
    "grpc.http2.max_frame_size": ("max_frame_bytes", int),
    "grpc.http2.hpack_table_size.decoder": ("header_table_bytes", int),
}
_ELSEWHERE = frozenset({_MESSAGE_LENGTH})


def of_grpc(options: GrpcOptions) -> Limits:
    """Return the limits of the gRPC port.

    Raises `InvalidArgument` for a channel argument that is known and not a number.
    """
    values: dict[str, Any] = {}
    for name, value in options.channel_arguments.items():
        if name in _ARGUMENTS:
            field, convert = _ARGUMENTS[name]
            values[field] = convert(_number(name, value))
        elif name not in _ELSEWHERE:
            logger.warning(
                "--grpc_channel_arguments: %s has no meaning for this transport; known are %s",
                name,
                ", ".join(sorted((*_ARGUMENTS, *_ELSEWHERE))),
            )
    return Limits(**values)


def max_message_bytes(options: GrpcOptions) -> int:
    """Return the most that one message of gRPC may have."""
    value = _number(_MESSAGE_LENGTH, options.channel_arguments.get(_MESSAGE_LENGTH, -1))
    return value if 0 <= value <= _MAX_MESSAGE_BYTES else _MAX_MESSAGE_BYTES


def of_http(options: HttpOptions) -> Limits:
    """Return the limits of the HTTP port."""
    return Limits(
        head_timeout_s=options.head_timeout_s,
        body_grace_s=options.body_timeout_s,
        min_body_bytes_per_s=_MIN_BODY_BYTES_PER_S,
        max_body_bytes=options.max_body_bytes,
    )


def _number(name: str, value: str | int) -> int:
    if isinstance(value, int):
        return value
    raise InvalidArgument(f"--grpc_channel_arguments: {name} is a number, not {value!r}")
