"""Estimate whether waiting for other requests pays, from whether any came recently.

In: how many requests came together each time. Out: wait, or do not. After a few requests that
were alone nobody waits, except one in many, which finds out whether there are others again.
"""

from __future__ import annotations

_LONE_REQUESTS = 4  # in a row, after which nobody waits
_PROBE_EVERY = 17  # requests, of which one waits all the same; a prime, to avoid falling in step


class CompanionEstimate:
    """Remembers for how long requests have been alone."""

    __slots__ = ("_lone",)

    def __init__(self) -> None:
        self._lone = 0  # times in a row

    @property
    def is_alone(self) -> bool:
        """Whether requests have been alone for a while."""
        return self._lone >= _LONE_REQUESTS

    def expects_any(self, requests: int = 1) -> bool:
        """Return whether to wait for others this time; `requests` came since it was last asked."""
        if not self.is_alone:
            return True
        before = self._lone
        self._lone += requests
        return self._lone // _PROBE_EVERY > before // _PROBE_EVERY

    def observed(self, requests: int) -> None:
        """Learn that so many requests came together, after waiting."""
        self._lone = 0 if requests > 1 else self._lone + 1
