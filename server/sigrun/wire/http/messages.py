"""What a handler takes and gives: a request whole, a response whole."""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sigrun.concurrency.budget import Full, Growth, unbounded
from sigrun.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    SigrunError,
    Unavailable,
    Unimplemented,
)
from sigrun.inference.context import CallContext, Door, Outcome
from sigrun.wire.body import Body
from sigrun.wire.status import HTTP_STATUS
from sigrun.wire.transport.events import Problem

JSON = b"application/json"

Header = tuple[bytes, bytes]


@dataclass(slots=True, kw_only=True)
class HttpRequest:
    """One request, never changed once it is made.

    `target` is as sent: percent-encoded, with its query string. The names of `headers` are
    in lower case; one that was sent several times is a list, with commas. `peer` is the
    client's address as text, `id` the id of the request, its own or one made for it; `growth`
    counts what comes out of a compressed body.
    """

    method: str
    target: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: Body = b""
    peer: str = ""
    id: str = ""
    growth: Callable[[], Growth] = unbounded

    def __len__(self) -> int:
        """Return the size of the body in bytes."""
        return len(self.body)

    def context(self, door: Door, timeout_s: float | None) -> CallContext:
        """Return the context of the call in this request, which may take `timeout_s`."""
        return CallContext(
            door,
            self.id,
            None if timeout_s is None else time.monotonic() + timeout_s,
            self.peer,
            HeaderMetadata(self.headers),
            self.headers.get(b"traceparent", b"").decode("latin-1"),
            outcome=Outcome(),
        )


@dataclass(slots=True, kw_only=True)
class HttpResponse:
    """One response, never changed once it is made. `headers` are those beside the type."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Sequence[Header] = ()

    def __len__(self) -> int:
        """Return the size of the body in bytes."""
        return len(self.body)


class HeaderMetadata(Mapping[str, str | bytes]):
    """Headers as the metadata of a call; one is decoded when it is asked for.

    `base` is the metadata of the same headers without those that vary from call to call, if there
    is one. Whoever derives something from the lasting ones may keep it in `(base or self).memo`, as
    with heads: many calls share it.
    """

    __slots__ = ("_headers", "base", "memo")

    def __init__(self, headers: Mapping[bytes, bytes], base: HeaderMetadata | None = None) -> None:
        self._headers = headers
        self.base = base
        self.memo: Any = None

    # `Mapping.get` would raise and catch a KeyError for each header that is not there.
    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a name in lower case, or `default`."""
        value = self._headers.get(name.encode())
        return default if value is None else _value(name, value)

    def __getitem__(self, name: str) -> str | bytes:
        return _value(name, self._headers[name.encode()])

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def _value(name: str, value: bytes) -> str | bytes:
    return _binary(value) if name.endswith("-bin") else value.decode("latin-1")


def _binary(value: bytes) -> bytes:
    """Return a `-bin` value, which is base64, its padding optional."""
    return base64.b64decode(value + b"=" * (-len(value) % 4))


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Answers what comes to a path, or below one. It may raise a `SigrunError`."""

WriteError = Callable[[SigrunError, Mapping[bytes, bytes]], HttpResponse]
"""Turns an error into what a caller sees, who sent these headers."""


class RequestTooLarge(ResourceExhausted):
    """The body is larger than is taken."""


class RequestTooSlow(DeadlineExceeded):
    """The request takes longer to come than is waited for."""


class TooManyRequests(Unavailable):
    """More is under way, or waits to be read by the client, than is taken on."""


class HeadTooLarge(ResourceExhausted):
    """The target and the headers are larger than is taken."""


class UnsupportedEncoding(Unimplemented):
    """The body is compressed in a way that is not read here."""


class UnsupportedMediaType(Unimplemented):
    """The body is of a type that is not read at this path."""


# Where HTTP has a better word than the one for the code.
_OWN_STATUS: Mapping[type[SigrunError], int] = {
    Full: 503,
    RequestTooLarge: 413,
    HeadTooLarge: 431,
    RequestTooSlow: 408,
    UnsupportedEncoding: 415,
    UnsupportedMediaType: 415,
}


_REFUSALS: Mapping[Problem, type[SigrunError]] = {
    Problem.MALFORMED: InvalidArgument,
    Problem.HEAD_TOO_LARGE: HeadTooLarge,
    Problem.BODY_TOO_LARGE: RequestTooLarge,
    Problem.TOO_SLOW: RequestTooSlow,
    Problem.TOO_MANY: TooManyRequests,
    Problem.FULL: Full,
    Problem.UNSUPPORTED: Unimplemented,
    Problem.STOPPING: Unavailable,
}


def refusal(problem: Problem, text: str) -> SigrunError:
    """Return the error that a caller sees of a request that the transport refuses."""
    return _REFUSALS[problem](text)


def json_response(document: Any, *, status: int = 200) -> HttpResponse:
    """Return `document` as a line of JSON."""
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
    return HttpResponse(body=body, status=status)


def error_response(error: SigrunError) -> HttpResponse:
    """Return what a caller sees of an error: its text and its code, under the status of it."""
    status = _OWN_STATUS.get(type(error)) or HTTP_STATUS[error.code]
    return json_response({"error": str(error), "code": error.code.name}, status=status)


def first_part(target: str) -> str:
    """Return what handlers are found by: the path, or its first part with the slash behind it."""
    path = target.partition("?")[0]
    return path[: path.find("/", 1) + 1] or path
