"""The life of a servable as everybody else sees it: states, and the one stream of them.

The manager publishes; monitor, health, logs and tests listen. Listeners run on the event
loop, in the order in which they subscribed, and must be quick.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass

from sigrun.errors import SigrunError
from sigrun.servables.servable import ServableId

logger = logging.getLogger(__name__)


class State(enum.IntEnum):
    """Where a version stands, numbered as `tensorflow.serving.ModelVersionStatus.State`.

    AVAILABLE is announced after the fact, UNLOADING before it: whoever sees AVAILABLE can
    acquire the version, and nobody acquires one after UNLOADING.
    """

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class ServableState:
    """One change: this servable is now in that state; END carries the error, if any.

    `note` is for people: what else there is to know, such as why a version does not load yet.
    """

    id: ServableId
    state: State
    error: SigrunError | None = None
    note: str = ""


Listener = Callable[[ServableState], None]


class StateStream:
    """Hands every state change to every listener."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every change from now on."""
        self._listeners.append(listener)

    def publish(self, state: ServableState) -> None:
        """Tell all listeners. One that fails is logged and keeps nobody else from hearing."""
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:
                logger.exception("a listener failed on %s", state)
