"""What all connections of a listener share: who answers, what may be spoken, whose turn it is.

In: the first bytes of a connection. Out: which protocol they belong to.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sigrun.concurrency.budget import Budget
from sigrun.wire.transport.events import Core, RequestHead
from sigrun.wire.transport.exchange import Application
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.turns import Door, Runnable, Turns

_BEGIN_OF_HTTP2 = b"PRI "  # no method of HTTP/1.1 begins so


class Spoken(enum.Enum):
    """What may be spoken on a connection; the value is its name in ALPN."""

    HTTP2 = "h2"
    HTTP1 = "http/1.1"


def spoken_in(first_bytes: bytes) -> Spoken | None:
    """Return what a client speaks that begins so, or None if that takes more bytes to tell."""
    if first_bytes.startswith(_BEGIN_OF_HTTP2):
        return Spoken.HTTP2
    return None if _BEGIN_OF_HTTP2.startswith(first_bytes) else Spoken.HTTP1


class PipelinedCore(Core, Protocol):
    """A core of HTTP/1.1, where requests wait for those before them, and unread."""

    @property
    def has_events(self) -> bool:
        """Whether `receive(b"", now)` has something to say, an answer having been given."""

    @property
    def is_lingering(self) -> bool:
        """Whether all is said, and the client is only heard out."""


MakeCore = Callable[[Limits, float], Core]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What all connections of one listener share."""

    application: Application
    limits: Limits
    cores: Mapping[Spoken, MakeCore]  # what may be spoken
    turns: Turns
    door: Door[Runnable]
    budget: Budget
    is_spared: Callable[[RequestHead], bool]  # it is served however full the process is
