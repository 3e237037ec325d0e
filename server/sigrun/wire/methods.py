"""Unary RPCs as every transport calls them: bytes of a request in, bytes of a response out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from sigrun.wire.parse import parse

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

AnswerBytes = Callable[[bytes, float | None], Awaitable[bytes]]
"""One unary RPC. It takes the body and the deadline, in `time.monotonic` seconds or None.

A `Method` is one, and what reads and writes messages by itself may be, or passes them on.
"""

Services = Mapping[str, Mapping[str, AnswerBytes]]
"""RPCs by the full name of their service and their own."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One unary RPC: its request type and what answers it.

    A body that does not parse is the caller's mistake and is answered as one.
    """

    request: type[Request]
    answer: Callable[[Request, float | None], Awaitable[Response]]

    async def __call__(self, body: bytes, deadline: float | None) -> bytes:
        response = await self.answer(parse(self.request, body), deadline)
        return response.SerializeToString()
