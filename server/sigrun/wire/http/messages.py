"""What a handler takes and gives: a request whole, a response whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sigrun.errors import SigrunError
from sigrun.wire.http.json_syntax import Body
from sigrun.wire.status import HTTP_STATUS

JSON = b"application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request. `target` is as sent: percent-encoded, with its query string."""

    method: str
    target: str
    body: Body = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """One response."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON


def json_response(document: Any, *, status: int = 200) -> HttpResponse:
    """Return `document` as JSON."""
    return HttpResponse(body=orjson.dumps(document), status=status)


def error_response(error: SigrunError) -> HttpResponse:
    """Return what a caller sees of an error: its text, under the status of its code."""
    body: Mapping[str, str] = {"error": str(error)}
    return json_response(body, status=HTTP_STATUS[error.code])
