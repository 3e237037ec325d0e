"""What can be asked about the models, and of them as a set: status and reload."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

from sigrun.config.models import ModelSet
from sigrun.errors import Code, NotFound, SigrunError, code_of
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.readiness import Readiness
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State

logger = logging.getLogger(__name__)

Troubles = Callable[[], Mapping[ServableId, str]]
"""Says what is wrong with versions that are served, for those with which something is."""


def _none() -> Mapping[ServableId, str]:
    return {}


class ModelManagement:
    """Status, readiness and reload, for every transport. `told` hears how each reload ended."""

    def __init__(
        self,
        models: ServedModels,
        monitor: ServableStateMonitor,
        readiness: Readiness,
        troubles: Troubles = _none,
        told: Callable[[Code], None] = lambda code: None,
    ) -> None:
        self._models = models
        self._monitor = monitor
        self._readiness = readiness
        self._troubles = troubles
        self._told = told

    async def status(self, call: StatusCall) -> Mapping[int, ServableState]:
        """Return the state of every version, or of the one in the spec, highest first.

        A label that the model has does not narrow it. Raises `NotFound` for a model, version
        or label never heard of, `Unavailable` for a model that is still being looked for.
        """
        spec = call.spec
        states = self._states(spec.name)
        if not states:
            raise self._models.absence.of_status(spec.name, None)
        absence = self._models.absence
        if spec.label is not None and not absence.has_label(spec.name, spec.label):
            raise NotFound(str(absence.of_label(spec.name, spec.label)))
        if spec.version is None:
            return states
        if spec.version not in states:
            raise self._models.absence.of_status(spec.name, spec.version)
        return {spec.version: states[spec.version]}

    async def models(self, context: CallContext) -> Mapping[str, Mapping[int, ServableState]]:
        """Return the states of the versions of every model known, by name."""
        return {name: self._states(name) for name in self._readiness.models()}

    async def blockers(self) -> Sequence[str]:
        """Return what keeps traffic from being sent here, empty if nothing does."""
        return self._readiness.blockers()

    async def troubles(self) -> Sequence[str]:
        """Return what is wrong with versions that are served."""
        return [f"{id}: {trouble}" for id, trouble in self._troubles().items()]

    async def reload(self, wanted: ModelSet, deadline: float | None = None) -> None:
        """Serve `wanted` instead of the current set; see `ServedModels.reload`."""
        try:
            await self._models.reload(wanted, deadline=deadline)
        except asyncio.CancelledError as error:
            self._told(code_of(error))
            logger.warning("a reload was taken back, as its caller has left")
            raise
        except SigrunError as error:
            self._told(error.code)
            logger.warning("a reload was refused: %s: %s", error.code.name, error)
            raise
        self._told(Code.OK)
        logger.info("reloaded: now serving %s", ", ".join(sorted(self._models.current.names)))

    async def close(self) -> None:
        """Give up reloads that are under way; the set in force before them stays."""
        await self._models.close()

    def _states(self, name: str) -> Mapping[int, ServableState]:
        """Return the states of a model's versions, with what is known of them and their files."""
        states = dict(self._monitor.states(name))
        for id, trouble in self._troubles().items():
            if id.name == name and id.version in states:
                states[id.version] = dataclasses.replace(states[id.version], note=trouble)
        finding = self._models.finding(name)
        if finding is None:
            return states
        for version, reason in finding.settling.items():
            start = ServableState(ServableId(name, version), State.START)
            states[version] = dataclasses.replace(states.get(version, start), note=reason)
        for version in finding.changed.keys() & states.keys():
            note = f"{finding.changed[version]} has changed since this version was loaded"
            states[version] = dataclasses.replace(states[version], note=note)
        return dict(sorted(states.items(), reverse=True))
