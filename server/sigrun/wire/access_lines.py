"""What a line of the access log says of a request.

Imported by the log process: it is light, and knows nothing but plain values.
"""

from __future__ import annotations

import functools
from typing import Final

Asked = tuple[str, str, str, str, tuple[str, int, str] | None, int, int, float, float, float, float]
"""A request that is over: door, method, name of the code, peer, what answered; bytes in and out;
when it began, when inference began and ended (0.0 if it did not come to that), when it ended."""

_TEXT: Final = "%s %s %s%s from %s: %s bytes in, %s bytes out, %.3f ms"
_WITH_TIMES: Final = _TEXT + " (read %.3f, inference %.3f, write %.3f)"


def text(asked: Asked) -> str:
    """Return the message."""
    door, method, code, peer, target, bytes_in, bytes_out, began, first, last, ended = asked
    what = door, method, code, _by(target), peer, bytes_in, bytes_out, (ended - began) * 1e3
    if not last:
        return _TEXT % what
    return _WITH_TIMES % (*what, (first - began) * 1e3, (last - first) * 1e3, (ended - last) * 1e3)


def fields(asked: Asked) -> dict[str, object]:
    """Return all of it, each in a field of its own."""
    door, method, code, peer, target, bytes_in, bytes_out, began, first, last, ended = asked
    fields: dict[str, object] = {
        "door": door,
        "method": method,
        "code": code,
        "peer": peer,
        "request_bytes": bytes_in,
        "response_bytes": bytes_out,
        "duration_ms": _ms(began, ended),
    }
    if target is not None:
        fields["model"], fields["version"], fields["signature"] = target
    if last:
        fields["read_ms"] = _ms(began, first)
        fields["inference_ms"] = _ms(first, last)
        fields["write_ms"] = _ms(last, ended)
    return fields


@functools.lru_cache(maxsize=256)
def _by(target: tuple[str, int, str] | None) -> str:
    if target is None:
        return ""
    name, version, signature = target
    return f" by {name}:{version} {signature}" if signature else f" by {name}:{version}"


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1e3, 3)
