"""Say why a model, a version or a label cannot be had, and what there is instead.

In: what was asked for in vain. Out: the error to raise. What is on its way is UNAVAILABLE,
so that clients come again; what is not is NOT_FOUND. TensorFlow Serving's text comes first,
as clients match it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from sigrun.config.models import ModelSet
from sigrun.errors import (
    InvalidArgument,
    NotFound,
    ServableNotFound,
    SigrunError,
    Unavailable,
    listed,
)
from sigrun.servables.labels import UnknownLabel, VersionLabels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.source import Finding
from sigrun.servables.state import ServableState, State

_ON_ITS_WAY = {State.START: "waits to be loaded", State.LOADING: "is loading"}


class Configured(Protocol):
    """Knows which models there should be."""

    @property
    def configured(self) -> ModelSet:
        """The set in force or, until there is one, the one that is being started."""

    @property
    def has_started(self) -> bool:
        """Whether the first set is in force."""

    def finding(self, name: str) -> Finding | None:
        """Return what was found of a model, None if it has not been looked at."""


class Absence:
    """Knows what there is: the configured models, their states and their labels."""

    def __init__(
        self, models: Configured, monitor: ServableStateMonitor, labels: VersionLabels
    ) -> None:
        self._models = models
        self._monitor = monitor
        self._labels = labels

    def of_servable(self, name: str, version: int | None, label: str | None = None) -> SigrunError:
        """Return why a version of a model, the latest if None, cannot be acquired.

        `label` is the one that was asked for; the version is what it stands for, if anything.
        """
        if label is not None and label not in self._labels.of(name):
            return self.of_label(name, label)
        text = str(ServableNotFound(name, version))
        if label is not None:
            text += f"; label {label} of {name} is version {version}, which is not loaded"
        return self._explained(text, name, version)

    def has_label(self, name: str, label: str) -> bool:
        """Return whether a model has a label, or will have when it has been started."""
        model = self._models.configured.get(name)
        return label in self._labels.of(name) or (
            model is not None and label in model.version_labels
        )

    def of_label(self, name: str, label: str) -> SigrunError:
        """Return why a label stands for no version."""
        text = str(UnknownLabel(label))
        if self._models.configured.get(name) is None:
            return InvalidArgument(f"{text}; {self._no_model(name)}")
        return InvalidArgument(f"{text}; {_has(name, 'label', sorted(self._labels.of(name)))}")

    def of_status(self, name: str, version: int | None) -> SigrunError:
        """Return why nothing is known of a model's versions, or of this one."""
        if version is None:
            return self._explained(f"Could not find any versions of model {name}", name, None)
        return self._explained(f"Could not find version {version} of model {name}", name, version)

    def _explained(self, text: str, name: str, version: int | None) -> SigrunError:
        if self._models.configured.get(name) is None:
            return NotFound(f"{text}; {self._no_model(name)}")
        reason = self._on_its_way(name, version)
        if reason is not None:
            return Unavailable(f"{text}; {reason}")
        return NotFound(f"{text}; {self._no_version(name, version)}")

    def _on_its_way(self, name: str, version: int | None) -> str | None:
        """Return how far a version has come that can be had soon, None if there is none."""
        for number, state in self._monitor.states(name).items():
            if version in (None, number) and state.state in _ON_ITS_WAY:
                return f"version {number} {_ON_ITS_WAY[state.state]}"
        finding = self._models.finding(name)
        if finding is None:
            is_new = not self._monitor.is_available(name)
            return f"the base path of {name} is being looked at" if is_new else None
        for number, reason in finding.settling.items():
            if version in (None, number) and number not in finding.chosen:
                return reason
        if finding.problem is not None and not self._models.has_started:
            return f"it is waited for: {finding.problem}"
        return None

    def _no_version(self, name: str, version: int | None) -> str:
        states = self._monitor.states(name)
        available = [v for v, state in states.items() if state.state is State.AVAILABLE]
        failure = _failure(states, version)
        if failure is not None:
            return failure if version is None else f"{failure}; {_has(name, 'version', available)}"
        finding = self._models.finding(name)
        if not available and finding is not None and finding.problem is not None:
            return str(finding.problem)
        return _has(name, "version", available)

    def _no_model(self, name: str) -> str:
        names = sorted(self._models.configured.names)
        what = f"there is no model {name}" if name else "no model is named"
        return f"{what}, {_has('this server', 'model', names)}"


def _failure(states: Mapping[int, ServableState], version: int | None) -> str | None:
    for number, state in states.items():
        if version in (None, number) and state.state is State.END and state.error is not None:
            return f"version {number} failed to load: {state.error.code.name}: {state.error}"
    return None


def _has(owner: str, what: str, things: Iterable[object]) -> str:
    """Say what there is: `mnist has versions 2, 1`."""
    named = [str(thing) for thing in things]
    if not named:
        return f"{owner} has no {what}s"
    return f"{owner} has {what}{'s' if len(named) > 1 else ''} {listed(named)}"
