"""From a `SigrunError` to what each transport says: gRPC status, HTTP status."""

from __future__ import annotations

import grpc

from sigrun.errors import Code, SigrunError

_MAX_GRPC_DETAILS_BYTES = 1024
_TRUNCATED = "...TRUNCATED"

GRPC_STATUS: dict[Code, grpc.StatusCode] = {
    Code(status.value[0]): status for status in grpc.StatusCode
}

HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


def grpc_details(error: SigrunError) -> str:
    """Return the text of a gRPC status: at most 1024 bytes, since it travels in a header."""
    encoded = str(error).encode()
    if len(encoded) <= _MAX_GRPC_DETAILS_BYTES:
        return str(error)
    return encoded[:_MAX_GRPC_DETAILS_BYTES].decode(errors="ignore") + _TRUNCATED
