"""What a line of the access log says of a request.

Imported by the log process: it is light, and knows nothing but plain values.
"""

from __future__ import annotations

import functools
from typing import Final

Asked = tuple[str, str, str, str, str, int, str, int, int, float, float, float, float]
"""A request that is over: door, method, name of the code, peer; name, version and signature of what
answered, empty if nothing did; bytes in and out; when it began, when inference began and ended,
0.0 if it did not come to that, and when it ended. Flat, as it is pickled for every request."""

_TEXT: Final = "%s %s %s%s from %s: %s bytes in, %s bytes out, %.3f ms"
_WITH_TIMES: Final = _TEXT + " (read %.3f, inference %.3f, write %.3f)"


def text(asked: Asked) -> str:
    """Return the message."""
    door, method, code, peer, model, version, signature, *numbers = asked
    bytes_in, bytes_out, began, first, last, ended = numbers
    by, all_ms = _by(model, version, signature), (ended - began) * 1e3
    what = door, method, code, by, peer, bytes_in, bytes_out, all_ms
    if not last:
        return _TEXT % what
    return _WITH_TIMES % (*what, (first - began) * 1e3, (last - first) * 1e3, (ended - last) * 1e3)


def fields(asked: Asked) -> dict[str, object]:
    """Return all of it, each in a field of its own."""
    door, method, code, peer, model, version, signature, *numbers = asked
    bytes_in, bytes_out, began, first, last, ended = numbers
    fields: dict[str, object] = {
        "door": door,
        "method": method,
        "code": code,
        "peer": peer,
        "request_bytes": bytes_in,
        "response_bytes": bytes_out,
        "duration_ms": _ms(began, ended),
    }
    if model:
        fields.update(model=model, version=version, signature=signature)
    if last:
        fields["read_ms"] = _ms(began, first)
        fields["inference_ms"] = _ms(first, last)
        fields["write_ms"] = _ms(last, ended)
    return fields


@functools.lru_cache(maxsize=256)
def _by(model: str, version: int, signature: str) -> str:
    if not model:
        return ""
    return f" by {model}:{version} {signature}" if signature else f" by {model}:{version}"


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1e3, 3)
