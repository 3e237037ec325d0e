"""Requests counted, timed and weighed by method, door and code: right in a gateway too.

It sees bytes only. Which model a request was for, `inference.observed` counts.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sigrun.errors import Code, SigrunError
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.metrics import Counter, Distribution, Histogram, Reading
from sigrun.wire.interceptors import Answer, Reply, Request

_BOUNDS_S = tuple(1e-5 * 4**power for power in range(12))


class _Key(NamedTuple):
    method: str
    door: Door
    code: Code


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
        self._series: dict[_Key, _Series] = {}

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer`, counted as `method`."""

        async def counted(request: Request, context: CallContext) -> Reply:
            started = self._clock()
            code, size = Code.CANCELLED, 0  # unless it ends in one of the ways below
            try:
                reply = await answer(request, context)
                code, size = Code.OK, len(reply)
                return reply
            except SigrunError as error:
                code = error.code
                raise
            except Exception:
                code = Code.INTERNAL
                raise
            finally:
                key = _Key(method, context.door, code)
                series = self._series.get(key)
                if series is None:
                    series = self._series[key] = _Series()
                duration_s = self._clock() - started
                series.counts[bisect_left(_BOUNDS_S, duration_s)] += 1
                series.sum_s += duration_s
                series.request_bytes += len(request)
                series.response_bytes += size

        return counted

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        for key, series in self._series.items():
            labels = {"method": key.method, "door": key.door.value, "code": key.code.name}
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
