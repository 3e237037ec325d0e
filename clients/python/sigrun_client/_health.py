"""The messages of grpc.health.v1.Health/Check. Pure.

Both have one field, of the number and the type that the wrappers of protobuf have too: what goes
over the wire is the same, so that the client need not depend on grpcio-health-checking.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from google.protobuf.message import DecodeError

from sigrun_client._errors import InvalidReply
from sigrun_client._gen.google.protobuf.wrappers_pb2 import Int32Value, StringValue

Health: TypeAlias = Literal["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]

PATH = "/grpc.health.v1.Health/Check"

_NAMES: tuple[Health, ...] = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def request(service: str) -> bytes:
    """Return a HealthCheckRequest."""
    return StringValue(value=service).SerializeToString()


def reply(body: bytes) -> Health:
    """Return the status of a HealthCheckResponse. Raises `InvalidReply`."""
    try:
        number = Int32Value.FromString(body).value
    except DecodeError as error:
        raise InvalidReply(f"{len(body)} bytes are no HealthCheckResponse: {error}") from None
    if not 0 <= number < len(_NAMES):
        raise InvalidReply(f"{number} is no status of grpc.health.v1; 0 to {len(_NAMES) - 1} are")
    return _NAMES[number]
