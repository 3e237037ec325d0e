"""Bytes -> message, where bytes that are none are the caller's mistake."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from sigrun.errors import InvalidArgument

Request = TypeVar("Request", bound=Message)


def parse(kind: type[Request], body: bytes) -> Request:
    """Return the message that `body` is. Raises `InvalidArgument` if it is not a `kind`."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise InvalidArgument(
            f"The {len(body)} bytes sent are not a {kind.DESCRIPTOR.full_name}"
        ) from None
