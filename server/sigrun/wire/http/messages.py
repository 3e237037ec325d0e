"""What a handler takes and gives: a request whole, a response whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sigrun.errors import DeadlineExceeded, ResourceExhausted, SigrunError, Unimplemented
from sigrun.wire.body import Body
from sigrun.wire.status import HTTP_STATUS

JSON = b"application/json"

Header = tuple[bytes, bytes]


@dataclass(slots=True, kw_only=True)
class HttpRequest:
    """One request, never changed once it is made.

    `target` is as sent: percent-encoded, with its query string. The names of `headers` are
    in lower case; one that was sent several times is a list, with commas.
    """

    method: str
    target: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: Body = b""


@dataclass(slots=True, kw_only=True)
class HttpResponse:
    """One response, never changed once it is made. `headers` are those beside the type."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Sequence[Header] = ()


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Answers what comes to a path, or below one. It may raise a `SigrunError`."""

WriteError = Callable[[SigrunError, Mapping[bytes, bytes]], HttpResponse]
"""Turns an error into what a caller sees, who sent these headers."""


class RequestTooLarge(ResourceExhausted):
    """The body is larger than is taken."""


class RequestTooSlow(DeadlineExceeded):
    """The request takes longer to come than is waited for."""


class HeadTooLarge(ResourceExhausted):
    """The target and the headers are larger than is taken."""


class UnsupportedEncoding(Unimplemented):
    """The body is compressed in a way that is not read here."""


class UnsupportedMediaType(Unimplemented):
    """The body is of a type that is not read at this path."""


# Where HTTP has a better word than the one for the code.
_OWN_STATUS: Mapping[type[SigrunError], int] = {
    RequestTooLarge: 413,
    HeadTooLarge: 431,
    RequestTooSlow: 408,
    UnsupportedEncoding: 415,
    UnsupportedMediaType: 415,
}


def json_response(document: Any, *, status: int = 200) -> HttpResponse:
    """Return `document` as JSON."""
    return HttpResponse(body=orjson.dumps(document), status=status)


def error_response(error: SigrunError) -> HttpResponse:
    """Return what a caller sees of an error: its text and its code, under the status of it."""
    status = _OWN_STATUS.get(type(error)) or HTTP_STATUS[error.code]
    return json_response({"error": str(error), "code": error.code.name}, status=status)
