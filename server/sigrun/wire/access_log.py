"""A line for every request, or for a share of them: who asked for what, how it ended, how long.

As JSON a line has all of it in fields of its own. What fails is always logged.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext, Outcome
from sigrun.telemetry.logs import FIELDS
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
                _log(method, context, code_of(error), (len(request), 0), (began, clock()))
                raise
            if draw() < share:
                _log(method, context, Code.OK, (len(request), len(reply)), (began, clock()))
            return reply

        return logged


def _log(
    method: str,
    context: CallContext,
    code: Code,
    sizes: tuple[int, int],
    span: tuple[float, float],
) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    outcome = context.outcome or Outcome()
    began, ended = span
    fields: dict[str, object] = {
        "request_id": context.request_id,
        "door": context.door.value,
        "method": method,
        "code": code.name,
        "peer": context.peer or "unknown",
        "request_bytes": sizes[0],
        "response_bytes": sizes[1],
        "duration_ms": _ms(began, ended),
    }
    answered = ""
    if outcome.target is not None:
        name, version, signature = outcome.target
        fields["model"], fields["version"], fields["signature"] = name, version, signature
        answered = f" by {name}:{version} {signature}" if signature else f" by {name}:{version}"
    times = ""
    if outcome.inference_ended:
        fields["read_ms"] = read = _ms(began, outcome.inference_began)
        fields["inference_ms"] = run = _ms(outcome.inference_began, outcome.inference_ended)
        fields["write_ms"] = write = _ms(outcome.inference_ended, ended)
        times = f" (read {read}, inference {run}, write {write})"
    text = (
        f"{fields['door']} {method} {fields['code']}{answered} from {fields['peer']}: "
        f"{sizes[0]} bytes in, {sizes[1]} bytes out, {fields['duration_ms']} ms{times}"
    )
    # `logger.info` would look for its caller's line on the stack first, for every request.
    record = logging.LogRecord(logger.name, logging.INFO, __file__, 0, text, None, None)
    setattr(record, FIELDS, fields)
    logger.handle(record)


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1e3, 3)
