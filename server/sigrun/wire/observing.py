"""Tell those who look on how each request ended: metrics, the access log.

One interceptor for all of them, so that a request is timed once and pays for one frame, however
many look on. An observer that only wants to know how requests end is a file of its own, and one
entry in the list that `server.py` hands to `Observing`; one that changes them is an interceptor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext
from sigrun.wire.interceptors import Answer, Reply, Request

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_OK: Final = Code.OK

Sizes = tuple[int, int]
"""The bytes of a request, and of its answer: 0 if it failed."""

Span = tuple[float, float]
"""When a request began and when it ended, in `time.perf_counter` seconds."""

OnEnd = Callable[[CallContext, Code, Sizes, Span], None]
"""Hears of a request: its context, with the outcome, and how it ended."""


class Observer(Protocol):
    """Looks on."""

    def of(self, method: str) -> OnEnd:
        """Return what hears of the requests of a method, at the end of each."""


class Observing:
    """An interceptor that tells `observers`, in their order, on the event loop."""

    def __init__(
        self, observers: Sequence[Observer], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._observers = observers
        self._clock = clock

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer`, watched."""
        clock = self._clock
        told = [observer.of(method) for observer in self._observers]

        async def observed(request: Request, context: CallContext) -> Reply:
            began = clock()
            try:
                reply = await answer(request, context)
            except BaseException as error:
                code, span = code_of(error), (began, clock())
                for tell in told:
                    tell(context, code, (len(request), 0), span)
                raise
            sizes, span = (len(request), len(reply)), (began, clock())
            for tell in told:
                tell(context, _OK, sizes, span)
            return reply

        return observed
