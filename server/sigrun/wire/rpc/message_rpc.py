"""A unary RPC on bytes made of one on messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from sigrun.inference.context import CallContext
from sigrun.wire.protobuf.parse import parse

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class MessageRpc(Generic[Request, Response]):
    """One unary RPC: its request type and what answers it.

    A body that does not parse is the caller's mistake and is answered as one.
    """

    request: type[Request]
    answer: Callable[[Request, CallContext], Awaitable[Response]]

    async def __call__(self, body: bytes, context: CallContext) -> bytes:
        response = await self.answer(parse(self.request, body), context)
        return response.SerializeToString()
