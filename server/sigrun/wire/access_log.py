"""A line for every request, or for a share of them: who asked for what, how it ended, how long.

As JSON a line has all of it in fields of its own. What fails is always logged.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final, NamedTuple

from sigrun.errors import Code
from sigrun.inference.context import CallContext, Outcome
from sigrun.telemetry.logs import log_event
from sigrun.wire.observing import OnEnd, Sizes, Span

logger = logging.getLogger(__name__)

_OK: Final = Code.OK
_NAMES: Final = {code: code.name for code in Code}  # in Python 3.11 `name` calls two functions


class AccessLog:
    """An observer that logs at INFO; what fails always, of the rest a share.

    `random` returns numbers from 0 up to, and without, 1.
    """

    def __init__(
        self, sampling_rate: float = 1.0, random: Callable[[], float] = random.random
    ) -> None:
        self._sampling_rate = sampling_rate
        self._random = random

    def of(self, method: str) -> OnEnd:
        """Return what logs a request of the method."""
        draw, share = self._random, self._sampling_rate

        def log(context: CallContext, code: Code, sizes: Sizes, span: Span) -> None:
            if code is not _OK or draw() < share:
                log_event(logger, _Access(method, context, code, sizes, span))

        return log


class _Access(NamedTuple):
    """One request and how it ended: a line of the log."""

    method: str
    context: CallContext
    code: Code
    sizes: Sizes
    span: Span

    def text(self) -> str:
        method, context, code, (request_bytes, response_bytes), (began, ended) = self
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
            f"{context.door} {method} {_NAMES[code]}{answered} from {context.peer or 'unknown'}: "
            f"{request_bytes} bytes in, {response_bytes} bytes out, "
            f"{(ended - began) * 1e3:.3f} ms{times}"
        )

    def fields(self) -> dict[str, object]:
        method, context, code, (request_bytes, response_bytes), (began, ended) = self
        outcome = context.outcome or Outcome()
        fields: dict[str, object] = {
            "request_id": context.request_id,
            "door": context.door.value,
            "method": method,
            "code": _NAMES[code],
            "peer": context.peer or "unknown",
            "request_bytes": request_bytes,
            "response_bytes": response_bytes,
            "duration_ms": _ms(began, ended),
        }
        if outcome.target is not None:
            fields["model"], fields["version"], fields["signature"] = outcome.target
        if outcome.inference_ended:
            first, last = outcome.inference_began, outcome.inference_ended
            fields["read_ms"] = _ms(began, first)
            fields["inference_ms"] = _ms(first, last)
            fields["write_ms"] = _ms(last, ended)
        return fields


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1e3, 3)
