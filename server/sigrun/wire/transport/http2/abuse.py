"""Tells a peer that makes us work for nothing from one that is merely busy.

Counted are frames that cost the peer less than us. In each interval a kind may come as often as
its limit says, and some times more for every answer that was given meanwhile: a proxy with
thousands of calls resets, pings and updates windows a lot, but it also gets its answers.
"""

from __future__ import annotations

import enum

from sigrun.wire.transport.http2.frames import ConnectionFault, ErrorCode
from sigrun.wire.transport.limits import Limits


class Kind(enum.Enum):
    """What is counted; the value is what it is called."""

    RESETS = "requests that were reset"
    CAUSED_RESETS = "mistakes in requests"
    SETTINGS = "SETTINGS"
    PINGS = "PING frames"
    WINDOW_UPDATES = "WINDOW_UPDATE frames"
    PRIORITIES = "PRIORITY frames"
    SMALL = "small DATA frames"
    USELESS = "frames that say nothing"


class Abuse:
    """The counters of one connection."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._limit_of = {
            Kind.RESETS: limits.max_resets,
            Kind.CAUSED_RESETS: limits.max_caused_resets,
            Kind.SETTINGS: limits.max_settings,
            Kind.PINGS: limits.max_pings,
            Kind.WINDOW_UPDATES: limits.max_window_updates,
            Kind.PRIORITIES: limits.max_priorities,
            Kind.SMALL: limits.max_small_frames,
            Kind.USELESS: limits.max_useless_frames,
        }
        self.answers = 0  # given in this interval; whoever gives one adds it
        self.data_frames = 0  # sent in this interval in answers of several
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._until = now + self._limits.abuse_interval_s
        self._counts = dict.fromkeys(Kind, 0)
        self.answers = self.data_frames = 0

    def on_time(self, now: float) -> None:
        """Begin a new interval when it is time."""
        if now >= self._until:
            self._begin(now)

    def count(self, kind: Kind) -> None:
        """Count one more; raise ConnectionFault if that is too many."""
        count = self._counts[kind] + 1
        self._counts[kind] = count
        if count > self._limit_of[kind]:
            allowed = self._limit_of[kind] + self.answers * self._limits.abuse_per_answer
            if kind is Kind.WINDOW_UPDATES:
                allowed += 2 * self.data_frames
            if count > allowed:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {kind.value}")
