"""Protobuf over HTTP: the form of a request, the form of its answer, and its target."""

from __future__ import annotations

from sigrun.errors import InvalidArgument
from sigrun.inference.calls import ModelSpec
from sigrun.wire.http.messages import JSON, HttpRequest

PROTOBUF = b"application/x-protobuf"

_PROTOBUF = frozenset({PROTOBUF, b"application/protobuf", b"application/vnd.google.protobuf"})
_JSON = frozenset({JSON})
_ANYTHING = frozenset({b"*/*", b"application/*"})


def is_binary(request: HttpRequest) -> bool:
    """Return whether the body is a protobuf message; of every other type it is JSON."""
    content_type = request.headers.get(b"content-type", b"")
    return content_type != JSON and _media_type(content_type) in _PROTOBUF


def wants_binary(request: HttpRequest) -> bool:
    """Return whether the answer is to be a protobuf message.

    The answer has the form of the request, unless `accept` names the other and not this one.
    Errors are always JSON.
    """
    own, other = (_PROTOBUF, _JSON) if is_binary(request) else (_JSON, _PROTOBUF)
    accept = request.headers.get(b"accept", b"*/*")
    if accept == b"*/*":
        return own is _PROTOBUF
    accepted = set(map(_media_type, accept.split(b",")))
    has_own_form = accepted.isdisjoint(other) or not accepted.isdisjoint(own | _ANYTHING)
    return has_own_form == (own is _PROTOBUF)


def _media_type(value: bytes) -> bytes:
    return value.partition(b";")[0].strip().lower()


def target(of_url: ModelSpec, of_body: ModelSpec) -> ModelSpec:
    """Return what a binary request is for: what the URL says, completed by its model spec.

    Raises `InvalidArgument` where the two disagree.
    """
    for what in ("name", "version", "label"):
        in_url, in_body = getattr(of_url, what), getattr(of_body, what)
        if in_url not in (None, "") and in_body not in (None, "", in_url):
            raise _disagreement(what, in_url, in_body)
    if of_url.version is not None and of_body.label is not None:
        raise _disagreement("version", of_url.version, f"label {of_body.label}")
    if of_url.label is not None and of_body.version is not None:
        raise _disagreement("label", of_url.label, f"version {of_body.version}")
    if of_url.version is None and of_url.label is None:
        return of_body._replace(name=of_url.name)
    return of_url._replace(signature_name=of_body.signature_name)


def _disagreement(what: str, in_url: object, in_body: object) -> InvalidArgument:
    return InvalidArgument(
        f"The URL asks for {what} {in_url!r} and the model_spec in the body for {in_body!r}"
    )
