"""Unary RPCs as every transport calls them: bytes of a request in, bytes of a response out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

UnaryRpc = Callable[[bytes, float | None], Awaitable[bytes]]
"""One unary RPC. It takes the body and the deadline, in `time.monotonic` seconds or None."""

Services = Mapping[str, Mapping[str, UnaryRpc]]
"""RPCs by the full name of their service and their own."""
