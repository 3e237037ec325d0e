"""How long a connection lasts: keep-alive, idleness, age, and the steps of draining.

    OPEN ──drain──▶ DRAINING ──its PING came back, or some time passed──▶ LEAVING ──▶ ENDED
                    first GOAWAY: open no more                            second GOAWAY: what
                    (what is under way already is taken)                  comes now is ignored

Nothing here writes a frame: `next_step` says what is due.
"""

from __future__ import annotations

import enum
import math
import random

from sigrun.wire.transport.limits import Limits


class Stage(enum.Enum):
    """Where a connection stands."""

    OPEN = enum.auto()
    DRAINING = enum.auto()
    LEAVING = enum.auto()
    ENDED = enum.auto()


class Step(enum.Enum):
    """What is due."""

    PING = enum.auto()
    DRAIN = enum.auto()
    LEAVE = enum.auto()
    GIVE_UP = enum.auto()  # the peer does not answer
    END = enum.auto()  # it had time enough to finish


class Lifetime:
    """The times of one connection. The core keeps `heard_at`, when the peer last sent anything."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.stage = Stage.OPEN
        self.heard_at = now
        self._pinged_at = -math.inf
        # Connections that were made together do not all end together.
        self._drain_at = now + limits.max_connection_age_s * random.uniform(0.9, 1.1)  # noqa: S311
        self._leave_at = self._end_at = math.inf

    def begin_drain(self, now: float) -> None:
        """Take note that the first GOAWAY is sent."""
        self.stage = Stage.DRAINING
        self._leave_at = now + self._limits.drain_ping_s

    def next_step(self, now: float, *, used_at: float, was_used: bool) -> Step | None:
        """Return what is due; `used_at`: when there last was a request, if `was_used`."""
        if now >= self._end_at:
            return Step.END
        if self.stage is Stage.DRAINING and now >= self._leave_at:
            return Step.LEAVE
        if self.stage is Stage.OPEN:
            if now >= self._drain_at:
                self._end_at = now + self._limits.max_connection_age_grace_s
                return Step.DRAIN
            limit_s = self._limits.max_connection_idle_s if was_used else self._limits.idle_s
            if now - used_at >= limit_s:
                return Step.DRAIN
        return self._keep_alive(now)

    def _keep_alive(self, now: float) -> Step | None:
        if self._pinged_at > self.heard_at:
            is_gone = now - self._pinged_at >= self._limits.keepalive_timeout_s
            return Step.GIVE_UP if is_gone else None
        if now - self.heard_at < self._limits.keepalive_interval_s:
            return None
        self._pinged_at = now
        return Step.PING
