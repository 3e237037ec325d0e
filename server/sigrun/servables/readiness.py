"""Whether this server should get traffic, and if not, why.

Ready means: started, not draining, every model that is configured has been available once,
and some model is available now. A model that leaves later is its own matter, and must not
take the others out of the load balancer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.state import ServableState, State


class Health(Protocol):
    """Whether a server, and each of its models, should get traffic."""

    @property
    def is_ready(self) -> bool:
        """Whether traffic should be sent here."""

    @property
    def is_draining(self) -> bool:
        """Whether the server is stopping."""

    def models(self) -> Mapping[str, bool]:
        """Return for every model known whether a version of it is available."""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change that may matter."""


class Readiness:
    """Implements `Health` for the models of one process.

    Follows the state stream (subscribe `update`), the set of models and the server itself.
    """

    def __init__(self, models: ServedModels, monitor: ServableStateMonitor) -> None:
        self._models = models
        self._monitor = monitor
        self._has_started = False
        self._is_draining = False
        self._once_available: set[str] = set()
        self._listeners: list[Callable[[], None]] = []
        models.subscribe(self._notify)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change that may matter."""
        self._listeners.append(listener)

    def update(self, state: ServableState) -> None:
        """Take note of a change in a servable's life."""
        if state.state is State.AVAILABLE:
            self._once_available.add(state.id.name)
        self._notify()

    def started(self) -> None:
        """Say that the initial models are settled."""
        self._has_started = True
        self._notify()

    def draining(self) -> None:
        """Say that the server is about to stop."""
        self._is_draining = True
        self._notify()

    @property
    def is_ready(self) -> bool:
        """Whether traffic should be sent here."""
        return not self.blockers()

    @property
    def is_draining(self) -> bool:
        """Whether the server is stopping."""
        return self._is_draining

    def models(self) -> Mapping[str, bool]:
        """Return for every model known whether a version of it is available."""
        names = {*self._monitor.models(), *self._models.configured.names}
        return {name: self._monitor.is_available(name) for name in sorted(names)}

    def blockers(self) -> Sequence[str]:
        """Return what keeps the server from being ready, empty if it is."""
        if self._is_draining:
            return ["the server is draining"]
        if not self._has_started:
            return ["the initial models are not settled yet"]
        configured = self._models.current.names
        pending = sorted(configured - self._once_available)
        if pending:
            return [f"no version of model {name} has become available" for name in pending]
        if configured and not any(map(self._monitor.is_available, configured)):
            return ["no model is available"]
        return []

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
