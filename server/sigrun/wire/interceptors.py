"""What surrounds every request, on bytes: the same chain for gRPC, gRPC-Web, Connect and REST.

An interceptor wraps what answers a method when the server is built. It sees the body, the
context and the answer or the error, and knows nothing of what is in them; the outcome in the
context says what answered. A new concern is an interceptor in a file of its own and one line in
the list that `server.py` hands to the doors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from typing import Protocol, TypeVar

from sigrun.inference.context import CallContext
from sigrun.wire.rpcs import Rpc, Services, StreamRpc

Request = TypeVar("Request", bound=Sized)
Reply = TypeVar("Reply", bound=Sized)

Answer = Callable[[Request, CallContext], Awaitable[Reply]]
"""Answers a request; `len` of either is its size in bytes. Raises a `SigrunError` otherwise."""


class Interceptor(Protocol):
    """Wraps what answers a method, such as `tensorflow.serving.PredictionService/Predict`."""

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return what is called in the place of `answer`."""


Interceptors = Sequence[Interceptor]
"""The first one is outermost."""


def intercepted(
    method: str, answer: Answer[Request, Reply], interceptors: Interceptors
) -> Answer[Request, Reply]:
    """Return `answer` with every interceptor around it."""
    for interceptor in reversed(interceptors):
        answer = interceptor.intercept(method, answer)
    return answer


def intercepted_services(services: Services, interceptors: Interceptors) -> Services:
    """Return `services` with the interceptors around every unary RPC.

    Streams are health and reflection, which the server answers about itself.
    """

    def wrapped(service: str, rpcs: Mapping[str, Rpc]) -> Mapping[str, Rpc]:
        return {
            name: rpc
            if isinstance(rpc, StreamRpc)
            else intercepted(f"{service}/{name}", rpc, interceptors)
            for name, rpc in rpcs.items()
        }

    return {service: wrapped(service, rpcs) for service, rpcs in services.items()}
