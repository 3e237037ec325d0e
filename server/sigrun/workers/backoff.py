"""How long to wait before a worker is started again: pure arithmetic."""

from __future__ import annotations

LONG_S = 30.0
"""A worker that has lived for so long is replaced at once."""

_FIRST_S = 0.5
_MOST_S = 30.0


class Backoff:
    """Doubles the pause with each life that was short."""

    def __init__(self) -> None:
        self._short_lives = 0

    def after(self, lived_s: float) -> float:
        """Return the pause, in seconds, after a life of `lived_s`."""
        if lived_s >= LONG_S:
            self._short_lives = 0
            return 0.0
        self._short_lives += 1
        if self._short_lives == 1:
            return 0.0
        return float(min(_FIRST_S * 2 ** min(self._short_lives - 2, 16), _MOST_S))
