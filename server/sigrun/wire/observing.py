"""Tell those who look on how each request ended: metrics at once, the access log in rows.

One interceptor for all of them, so that a request is timed once and pays for one frame, however
many look on. An observer that only wants to know how requests end is a file of its own, and one
entry in a list that `server.py` hands to `Observing`; one that changes them is an interceptor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext
from sigrun.wire.interceptors import Answer, Reply, Request

# Of requests: a row of them takes some 250 us, and nobody waits long for it.
_ROW = 256
_ROW_WITHIN_S = 0.02

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


Ended = tuple[str, CallContext, Code, Sizes, Span]
"""A request that is over: its method first."""


class RowObserver(Protocol):
    """Looks on from further away."""

    def tell(self, row: Sequence[Ended]) -> None:
        """Hear of requests that ended lately, in the order in which they did."""


class Observing:
    """An interceptor that tells `observers`, in their order, on the event loop.

    Those `in_rows` hear of many requests at once, within 20 ms. Between two requests what they do
    takes several times as long: it finds the caches full of what serving needs, and leaves them
    full of its own.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        in_rows: Sequence[RowObserver] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._observers = observers
        self._in_rows = in_rows
        self._clock = clock
        self._row: list[Ended] = []
        self._is_due = False  # whether a timer runs that tells the row

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer`, watched."""
        clock, row, keeps_rows = self._clock, self._row, bool(self._in_rows)
        told = [observer.of(method) for observer in self._observers]

        async def observed(request: Request, context: CallContext) -> Reply:
            began, size, code = clock(), 0, _OK
            try:
                reply = await answer(request, context)
                size = len(reply)
            except BaseException as error:
                code = code_of(error)
                raise
            finally:
                sizes, span = (len(request), size), (began, clock())
                for tell in told:
                    tell(context, code, sizes, span)
                if keeps_rows:
                    row.append((method, context, code, sizes, span))
                    if len(row) >= _ROW:
                        self.tell_rows()
                    elif not self._is_due:
                        self._tell_soon()
            return reply

        return observed

    def tell_rows(self) -> None:
        """Tell at once of the requests of which those `in_rows` have not heard."""
        row = self._row.copy()
        self._row.clear()
        for observer in self._in_rows:
            observer.tell(row)

    def _tell_soon(self) -> None:
        self._is_due = True
        asyncio.get_running_loop().call_later(_ROW_WITHIN_S, self._tell_when_due)

    def _tell_when_due(self) -> None:
        self._is_due = False
        self.tell_rows()
