"""A line for every request, or for a share of them: who asked for what, how it ended, how long.

As JSON a line has all of it in fields of its own. What fails is always logged.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final, NamedTuple

from sigrun.errors import Code
from sigrun.inference.calls import ResolvedSpec
from sigrun.inference.context import CallContext, Door, Outcome
from sigrun.telemetry.logs import log_event
from sigrun.wire.observing import OnEnd, Sizes, Span

logger = logging.getLogger(__name__)

_OK: Final = Code.OK
_NAMES: Final = {code: code.name for code in Code}  # in Python 3.11 `name` calls two functions
_NOTHING: Final = Outcome()


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
                door, request_id, _, peer, _, _, _, outcome = context
                if outcome is None:
                    outcome = _NOTHING
                began, ended = outcome.inference_began, outcome.inference_ended
                target = outcome.target
                event = _Access(
                    method, door, code, target, peer, request_id, sizes, span, began, ended
                )
                log_event(logger, event)

        return log


class _Access(NamedTuple):
    """One request and how it ended: a line of the log.

    It holds no more than the line says, so that what the request needed is free before it is told.
    """

    method: str
    door: Door
    code: Code
    target: ResolvedSpec | None
    peer: str
    request_id: str
    sizes: Sizes
    span: Span
    inference_began: float
    inference_ended: float

    def text(self) -> str:
        method, door, code, target, peer, _, sizes, (began, ended), first, last = self
        answered = times = ""
        if target is not None:
            name, version, signature = target
            answered = f" by {name}:{version} {signature}" if signature else f" by {name}:{version}"
        if last:
            times = (
                f" (read {(first - began) * 1e3:.3f}, inference {(last - first) * 1e3:.3f}, "
                f"write {(ended - last) * 1e3:.3f})"
            )
        return (
            f"{door} {method} {_NAMES[code]}{answered} from {peer or 'unknown'}: "
            f"{sizes[0]} bytes in, {sizes[1]} bytes out, {(ended - began) * 1e3:.3f} ms{times}"
        )

    def fields(self) -> dict[str, object]:
        method, door, code, target, peer, request_id, sizes, (began, ended), first, last = self
        fields: dict[str, object] = {
            "request_id": request_id,
            "door": door.value,
            "method": method,
            "code": _NAMES[code],
            "peer": peer or "unknown",
            "request_bytes": sizes[0],
            "response_bytes": sizes[1],
            "duration_ms": _ms(began, ended),
        }
        if target is not None:
            fields["model"], fields["version"], fields["signature"] = target
        if last:
            fields["read_ms"] = _ms(began, first)
            fields["inference_ms"] = _ms(first, last)
            fields["write_ms"] = _ms(last, ended)
        return fields


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1e3, 3)
