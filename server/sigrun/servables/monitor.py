"""Remember the last state of every version: what status, readiness and waiting go by.

In: the state stream. Out: states by model. A version that has ended stays known, with its
error, so that its fate can be asked for; of each model the newest `MAX_ENDED` are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State

MAX_ENDED = 100


class ServableStateMonitor:
    """The latest state of each servable; subscribe `update` to a stream."""

    def __init__(self) -> None:
        self._states: dict[str, dict[int, ServableState]] = {}

    def update(self, state: ServableState) -> None:
        """Take note of one change."""
        versions = self._states.setdefault(state.id.name, {})
        versions[state.id.version] = state
        ended = sorted(v for v, known in versions.items() if known.state is State.END)
        for version in ended[:-MAX_ENDED]:
            del versions[version]

    def models(self) -> Sequence[str]:
        """Return the names of all models that ever had a version, sorted."""
        return sorted(self._states)

    def states(self, name: str) -> Mapping[int, ServableState]:
        """Return the states of one model by version, highest version first."""
        versions = self._states.get(name, {})
        return {version: versions[version] for version in sorted(versions, reverse=True)}

    def state(self, id: ServableId) -> ServableState | None:
        """Return the last state of one servable, None if it was never heard of."""
        return self._states.get(id.name, {}).get(id.version)

    def has_failed(self, id: ServableId) -> bool:
        """Return whether the servable ended in an error."""
        known = self.state(id)
        return known is not None and known.state is State.END and known.error is not None

    def is_available(self, name: str, version: int | None = None) -> bool:
        """Return whether that version, or any version, of a model can be acquired."""
        return any(
            state.state is State.AVAILABLE
            for number, state in self._states.get(name, {}).items()
            if version in (None, number)
        )
