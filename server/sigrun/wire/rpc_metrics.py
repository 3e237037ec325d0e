"""Requests counted, timed and weighed by method, door and code: right in a gateway too.

It sees bytes only. Which model a request was for, `inference.observed` counts.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import Counter, Distribution, Histogram, Reading
from sigrun.wire.interceptors import Answer, Reply, Request

_BOUNDS_S = tuple(1e-5 * 4**power for power in range(12))


class _Series:
    """The requests of one key."""

    __slots__ = ("counts", "request_bytes", "response_bytes", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_S) + 1)
        self.sum_s = 0.0
        self.request_bytes = self.response_bytes = 0


class RpcMetrics:
    """An interceptor that counts. Used on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._series: dict[str, dict[tuple[Door, Code], _Series]] = {}

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer`, counted as `method`."""
        clock, of_method = self._clock, self._series.setdefault(method, {})

        def count(door: Door, code: Code, duration_s: float, sizes: tuple[int, int]) -> None:
            series = of_method.get((door, code))
            if series is None:
                series = of_method[door, code] = _Series()
            series.counts[bisect_left(_BOUNDS_S, duration_s)] += 1
            series.sum_s += duration_s
            series.request_bytes += sizes[0]
            series.response_bytes += sizes[1]

        async def counted(request: Request, context: CallContext) -> Reply:
            started = clock()
            try:
                reply = await answer(request, context)
            except BaseException as error:
                count(context.door, code_of(error), clock() - started, (len(request), 0))
                raise
            count(context.door, Code.OK, clock() - started, (len(request), len(reply)))
            return reply

        return counted

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        for method, of_method in self._series.items():
            for (door, code), series in of_method.items():
                labels = {"method": method, "door": door.value, "code": code.name}
                yield from _readings(labels, series)


def _readings(labels: dict[str, str], series: _Series) -> Iterable[Reading]:
    yield Distribution(
        name="sigrun_rpc_duration_seconds",
        help="From the whole request to the answer, by method, door and code",
        value=Histogram(bounds=_BOUNDS_S, counts=tuple(series.counts), sum=series.sum_s),
        labels=labels,
    )
    for name, help, value in (
        ("sigrun_rpc_request_bytes", "Bytes of requests", series.request_bytes),
        ("sigrun_rpc_response_bytes", "Bytes of answers", series.response_bytes),
    ):
        yield Counter(name=name, help=help, value=value, labels=labels)
