"""The models that are loaded now, for those who look at all of them: metrics, readiness, status.

In: servables, as they are loaded; who forgets one forgets it here too. Out: readings, and which
models are in trouble.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Protocol

from sigrun.executors.run_statistics import RunStatistics, RuntimeLatency
from sigrun.servables.servable import ServableId
from sigrun.telemetry.metrics import Reading


class Running(Protocol):
    """What a loaded model tells of its runs."""

    @property
    def id(self) -> ServableId:
        """The version that this is."""

    @property
    def written_off_runs(self) -> int:
        """How many runs go on long after they were given up."""

    @property
    def refusal(self) -> str | None:
        """Why the model refuses what needs a thread, or None if it does not."""

    @property
    def runs(self) -> RunStatistics:
        """How long its runs take."""

    def readings(self) -> Iterator[Reading]:
        """Yield what was counted, as metrics."""


class RunningModels:
    """Every model that is loaded; used on the event loop."""

    def __init__(self) -> None:
        self._models: weakref.WeakSet[Running] = weakref.WeakSet()
        self._latency = RuntimeLatency()

    def add(self, model: Running) -> None:
        """Tell of `model` as long as it lives."""
        self._models.add(model)

    def remove(self, model: Running) -> None:
        """Tell of `model` no more."""
        if model in self._models:
            self._models.discard(model)
            self._latency.retire(model.id.name, model.runs)

    def readings(self) -> Iterator[Reading]:
        """Yield what all models have counted."""
        for model in self._in_order():
            yield from model.readings()
        yield from self._latency.readings((model.id.name, model.runs) for model in self._in_order())

    def troubles(self) -> Mapping[ServableId, str]:
        """Return what is wrong with models, for those that have runs that do not end."""
        return {
            model.id: model.refusal or _unending(model.written_off_runs)
            for model in self._in_order()
            if model.written_off_runs
        }

    def refusals(self) -> Mapping[ServableId, str]:
        """Return why models refuse requests, for those that do."""
        return {model.id: model.refusal for model in self._in_order() if model.refusal}

    def _in_order(self) -> list[Running]:
        return sorted(self._models, key=lambda model: model.id)


def _unending(runs: int) -> str:
    return f"{runs} {'run goes' if runs == 1 else 'runs go'} on long after being given up"
