"""A line for every request, or for a share of them: who asked for what, how it ended, how long.

As JSON a line has all of it in fields of its own. What fails is always logged.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from sigrun.errors import Code
from sigrun.inference.calls import ResolvedSpec
from sigrun.telemetry.logs import log_events
from sigrun.wire.observing import Ended

logger = logging.getLogger(__name__)

# What a line costs is paid for every request. In Python 3.11 `name` of an enum calls two functions,
# and `%` formats in three quarters of the time of an f-string.
_OK: Final = Code.OK
_NAMES: Final = {code: code.name for code in Code}
_TEXT: Final = "%s %s %s%s from %s: %s bytes in, %s bytes out, %.3f ms"
_WITH_TIMES: Final = _TEXT + " (read %.3f, inference %.3f, write %.3f)"

_NOBODY, _UNKNOWN = "", "unknown"


class AccessLog:
    """An observer in rows that logs at INFO; what fails always, of the rest a share.

    `random` returns numbers from 0 up to, and without, 1.
    """

    def __init__(
        self, sampling_rate: float = 1.0, random: Callable[[], float] = random.random
    ) -> None:
        self._sampling_rate = sampling_rate
        self._random = random

    def tell(self, row: Sequence[Ended]) -> None:
        """Log a row of requests, with the times at which they ended."""
        draw, share = self._random, self._sampling_rate
        to_clock = time.time() - time.perf_counter()
        log_events(
            logger,
            [
                (to_clock + ended, context.request_id, one)
                for one in row
                for _, context, code, _, (_, ended) in (one,)
                if code is not _OK or draw() < share
            ],
            _text,
            _fields,
        )


def _text(ended: Ended) -> str:
    method, (door, _, _, peer, _, _, _, outcome), code, (asked, answered), (began, end) = ended
    by = _NOBODY if outcome is None else _by(outcome.target)
    name, who, all_ms = _NAMES[code], peer or _UNKNOWN, (end - began) * 1e3
    if outcome is None or not outcome.inference_ended:
        return _TEXT % (door, method, name, by, who, asked, answered, all_ms)
    first, last = outcome.inference_began, outcome.inference_ended
    read, inference, write = (first - began) * 1e3, (last - first) * 1e3, (end - last) * 1e3
    what = door, method, name, by, who, asked, answered, all_ms, read, inference, write
    return _WITH_TIMES % what


def _fields(ended: Ended) -> dict[str, object]:
    method, context, code, (asked, answered), (began, end) = ended
    fields: dict[str, object] = {
        "request_id": context.request_id,
        "door": context.door,
        "method": method,
        "code": _NAMES[code],
        "peer": context.peer or _UNKNOWN,
        "request_bytes": asked,
        "response_bytes": answered,
        "duration_ms": _ms(began, end),
    }
    outcome = context.outcome
    if outcome is None:
        return fields
    if outcome.target is not None:
        fields["model"], fields["version"], fields["signature"] = outcome.target
    if outcome.inference_ended:
        first, last = outcome.inference_began, outcome.inference_ended
        fields["read_ms"] = _ms(began, first)
        fields["inference_ms"] = _ms(first, last)
        fields["write_ms"] = _ms(last, end)
    return fields


@functools.lru_cache(maxsize=256)
def _by(target: ResolvedSpec | None) -> str:
    """Return what a line says of what answered."""
    if target is None:
        return _NOBODY
    name, version, signature = target
    return f" by {name}:{version} {signature}" if signature else f" by {name}:{version}"


def _ms(began: float, end: float) -> float:
    return int((end - began) * 1e6 + 0.5) / 1e3  # to three digits, in a third of `round`'s time
