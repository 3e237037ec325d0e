"""The id of the request that is being answered: in log lines, and passed on to servers upstream.

A transport that has one sets it for the task that answers the request.
"""

from __future__ import annotations

import itertools
import re
import secrets
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Empty where there is none."""

METADATA_KEY = "x-request-id"
"""The header that carries it, over HTTP and gRPC alike."""

MAX_CHARACTERS = 128

_UNSAFE = re.compile(r"[^!-~]+")
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)


def begin(given: str = "") -> str:
    """Set the id of the request that begins here, and return it: the caller's own, or a new one.

    Of what was `given` visible ASCII characters are kept, and no more than 128, since they
    go into headers and log lines.
    """
    kept = _UNSAFE.sub("", given[: 2 * MAX_CHARACTERS])[:MAX_CHARACTERS] if given else ""
    request_id = kept or f"{_PROCESS}-{next(_numbers)}"
    REQUEST_ID.set(request_id)
    return request_id
