"""A line for every request, or for a share of them: who asked for what, how it ended, how long.

As JSON a line has all of it in fields of its own. What fails is always logged.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from sigrun.errors import Code
from sigrun.telemetry.lines import Event
from sigrun.telemetry.logs import log_events
from sigrun.wire.access_lines import Asked, fields, text
from sigrun.wire.observing import Ended

logger = logging.getLogger(__name__)

_OK: Final = Code.OK
_UNKNOWN = "unknown"


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
        events: list[Event[Asked]] = []
        # What is done here is paid for every request. In Python 3.11, `value` and `name` of an
        # enum call two functions each.
        for method, context, code, (bytes_in, bytes_out), (began, ended) in row:
            if code is not _OK or draw() < share:
                door, id, _, peer, _, _, _, outcome = context
                model, version, signature, first, last = "", 0, "", 0.0, 0.0
                if outcome is not None:
                    first, last = outcome.inference_began, outcome.inference_ended
                    if outcome.target is not None:
                        model, version, signature = outcome.target
                asked = (
                    door._value_,
                    method,
                    code._name_,
                    peer or _UNKNOWN,
                    model,
                    version,
                    signature,
                    bytes_in,
                    bytes_out,
                    began,
                    first,
                    last,
                    ended,
                )
                events.append((to_clock + ended, id, asked))
        log_events(logger, events, text, fields)
