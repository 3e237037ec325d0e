"""RPCs as every transport calls them: bytes of requests in, bytes of responses out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from sigrun.inference.context import CallContext

UnaryRpc = Callable[[bytes, CallContext], Awaitable[bytes]]
"""One request, one response. Raises a `SigrunError` for every other outcome."""


@dataclass(frozen=True, slots=True)
class StreamRpc:
    """Any number of requests, any number of responses; it ends when `answer` does."""

    answer: Callable[[AsyncIterator[bytes], CallContext], AsyncIterator[bytes]]


Rpc = UnaryRpc | StreamRpc

Services = Mapping[str, Mapping[str, Rpc]]
"""RPCs by the full name of their service and their own."""
