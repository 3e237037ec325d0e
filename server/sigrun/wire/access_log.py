"""A line for every request, or for a share of them: who asked for what, how it ended, how long.

As JSON a line has all of it in fields of its own. What fails is always logged.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext, Outcome
from sigrun.telemetry.logs import log_event
from sigrun.wire.interceptors import Answer, Reply, Request

logger = logging.getLogger(__name__)


class AccessLog:
    """An interceptor that logs at INFO, after the answer is there.

    `random` returns numbers from 0 up to, and without, 1.
    """

    def __init__(
        self,
        sampling_rate: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._sampling_rate = sampling_rate
        self._clock = clock
        self._random = random

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer` with a line in the log behind it."""
        clock, draw, share = self._clock, self._random, self._sampling_rate

        async def logged(request: Request, context: CallContext) -> Reply:
            began = clock()
            try:
                reply = await answer(request, context)
            except BaseException as error:
                code = code_of(error)
                log_event(logger, _Access(method, context, code, len(request), 0, began, clock()))
                raise
            if draw() < share:
                sizes = len(request), len(reply)
                log_event(logger, _Access(method, context, Code.OK, *sizes, began, clock()))
            return reply

        return logged


class _Access(NamedTuple):
    """One request and how it ended: a line of the log. Times are in seconds of the clock."""

    method: str
    context: CallContext
    code: Code
    request_bytes: int
    response_bytes: int
    began: float
    ended: float

    def text(self) -> str:
        method, context, code, request_bytes, response_bytes, began, ended = self
        outcome = context.outcome or Outcome()
        answered = times = ""
        if (target := outcome.target) is not None:
            name, version, signature = target
            answered = f" by {name}:{version} {signature}" if signature else f" by {name}:{version}"
        if outcome.inference_ended:
            first, last = outcome.inference_began, outcome.inference_ended
            times = (
                f" (read {(first - began) * 1e3:.3f}, inference {(last - first) * 1e3:.3f}, "
                f"write {(ended - last) * 1e3:.3f})"
            )
        return (
            f"{context.door} {method} {code.name}{answered} from {context.peer or 'unknown'}: "
            f"{request_bytes} bytes in, {response_bytes} bytes out, "
            f"{(ended - began) * 1e3:.3f} ms{times}"
        )

    def fields(self) -> dict[str, object]:
        context = self.context
        outcome = context.outcome or Outcome()
        fields: dict[str, object] = {
            "request_id": context.request_id,
            "door": context.door.value,
            "method": self.method,
            "code": self.code.name,
            "peer": context.peer or "unknown",
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "duration_ms": _ms(self.began, self.ended),
        }
        if outcome.target is not None:
            fields["model"], fields["version"], fields["signature"] = outcome.target
        if outcome.inference_ended:
            first, last = outcome.inference_began, outcome.inference_ended
            fields["read_ms"] = _ms(self.began, first)
            fields["inference_ms"] = _ms(first, last)
            fields["write_ms"] = _ms(last, self.ended)
        return fields


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1e3, 3)
