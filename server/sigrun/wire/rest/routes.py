"""Which request goes where: the paths of TensorFlow Serving's REST API.

Matching is done on the target as it was sent, and names are decoded afterwards, so that a
model name may contain any character, a slash or colon in percent-encoding.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import unquote

from sigrun.errors import InvalidArgument
from sigrun.inference.calls import ModelSpec
from sigrun.wire.http.messages import HttpRequest

_VERSION_OR_LABEL = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION_OR_LABEL}:(?P<action>classify|regress|predict)",
    re.IGNORECASE,
)
_GET = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<action>metadata))?",
    re.IGNORECASE,
)
_PATTERNS = {"POST": _POST, "GET": _GET}
_MAX_REMEMBERED_CHARACTERS = 256
_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Route:
    """An action on a model: `predict`, `classify`, `regress`, `metadata` or `status`.

    `models`, which lists all models, has a spec without a name.
    """

    action: str
    spec: ModelSpec


def route(request: HttpRequest) -> Route:
    """Return where a request under `/v1/` goes.

    Raises `InvalidArgument` for a path or method that is not served.
    """
    method, target = request.method, request.target
    if len(target) <= _MAX_REMEMBERED_CHARACTERS:
        return _remembered(method, target)
    return _find(method, target)


def _find(method: str, target: str) -> Route:
    pattern = _PATTERNS.get(method)
    match = pattern.fullmatch(target) if pattern else None
    if match is None:
        raise InvalidArgument(f"Malformed request: {method} {target}")
    if match["name"] is None:
        if target.lower() == "/v1/models":
            return Route("models", ModelSpec(name=""))
        raise InvalidArgument("Missing model name in request.")
    action = (match["action"] or "status").lower()
    return Route(action, _spec(match))


_remembered = functools.lru_cache(maxsize=1024)(_find)  # clients ask for the same again and again


def _spec(match: re.Match[str]) -> ModelSpec:
    version, label = match["version"], match["label"]
    return ModelSpec(
        name=unquote(match["name"]),
        version=None if version is None else _version(version),
        label=None if label is None else unquote(label),
    )


def _version(text: str) -> int:
    digits = text.lstrip("0") or "0"
    # Python refuses to convert thousands of digits, so their number is looked at first.
    if len(digits) > len(str(_MAX_VERSION)) or int(digits) > _MAX_VERSION:
        raise InvalidArgument(f"Failed to convert version: {text} to numeric.")
    return int(digits)
