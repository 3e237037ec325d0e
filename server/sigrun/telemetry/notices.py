"""Lines in the log about what may happen many times a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

INTERVAL_S = 10.0


class Notice:
    """A warning of which at most one in `interval_s` goes to the log, with how many did not.

    `count` is how often it was given.
    """

    def __init__(
        self,
        logger: logging.Logger,
        text: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._logger = logger
        self._text = text
        self._clock = clock
        self._interval_s = interval_s
        self._next_at = -float("inf")
        self._unsaid = 0
        self.count = 0

    def give(self, *values: object) -> None:
        """Note that it has happened; `values` fill in the text."""
        self.count += 1
        now = self._clock()
        if now < self._next_at:
            self._unsaid += 1
            return
        self._next_at = now + self._interval_s
        unsaid, self._unsaid = self._unsaid, 0
        text = self._text
        if unsaid:
            text, values = f"{text} (%d more since this was last said)", (*values, unsaid)
        self._logger.warning(text, *values)
