"""Bytes -> message, where bytes that are none are the mistake of whoever sent them."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from sigrun.errors import Internal, InvalidArgument

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


def parse(kind: type[Request], body: bytes) -> Request:
    """Return the message that `body` is. Raises `InvalidArgument` if it is not a `kind`."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise InvalidArgument(
            f"The {len(body)} bytes sent are not a {kind.DESCRIPTOR.full_name}"
        ) from None


def parse_answer(kind: type[Response], body: bytes) -> Response:
    """Return the message that a server upstream answered with. Raises `Internal` if it is none."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Internal(
            f"The server upstream answered with {len(body)} bytes that are not a "
            f"{kind.DESCRIPTOR.full_name}"
        ) from None
