"""What can be asked about the models, and of them: status, reload of the set, change of one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sigrun.config.models import ModelConfig, ModelSet
from sigrun.errors import Code, InvalidArgument, NotFound, SigrunError, code_of, listed
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext
from sigrun.servables.models import Edit, ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.readiness import Readiness
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State

logger = logging.getLogger(__name__)

Troubles = Callable[[], Mapping[ServableId, str]]
"""Says what is wrong with versions that are served, for those with which something is."""


def _none() -> Mapping[ServableId, str]:
    return {}


class ManagedModel(NamedTuple):
    """A model as it is configured, None if it is on its way out, and the states of its versions."""

    name: str
    config: ModelConfig | None
    states: Mapping[int, ServableState]


class ModelManagement:
    """Status, readiness, reload and changes, for every transport.

    `told` hears how each reload and each change ended.
    """

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
        logger.info("reloaded: now serving %s", listed(sorted(self._models.current.names)))

    async def listing(self, context: CallContext) -> Sequence[ManagedModel]:
        """Return every model known, in the order of their names."""
        return [self._managed(name) for name in self._readiness.models()]

    async def load(self, model: ModelConfig, context: CallContext) -> ManagedModel:
        """Serve `model`, in the place of the one of its name; see `ServedModels.change`.

        One that is configured so already, and of which no version is available, is loaded again.
        What a call cannot say of a model, how its requests are logged, stays as it is.
        """
        name = model.name
        known = self._models.current.get(name)
        if known == _with_logging(model, known) and not self._monitor.is_available(name):
            return await self.load_again(name, context)

        def edit(models: ModelSet) -> ModelSet:
            return models.with_model(_with_logging(model, models.get(name)))

        await self._change("load", name, edit, context)
        return self._managed(name)

    async def unload(self, name: str, context: CallContext) -> None:
        """Serve a model no longer. Raises `NotFound` for one that there is not."""

        def edit(models: ModelSet) -> ModelSet:
            self._configured(models, name)
            return models.without(name)

        await self._change("unload", name, edit, context)

    async def load_again(self, name: str, context: CallContext) -> ManagedModel:
        """Load the versions of a model again; see `ServedModels.load_again`."""
        with self._ended("reload", name):
            await self._models.load_again(name, deadline=context.deadline)
        return self._managed(name)

    async def set_labels(
        self,
        name: str,
        labels: Mapping[str, int],
        removed: Collection[str],
        context: CallContext,
    ) -> ManagedModel:
        """Add and move `labels` of a model, and take the `removed` ones away.

        Raises `NotFound` for a model or a removed label that there is not, `FailedPrecondition` for
        a version that is not available, `InvalidArgument` for a label in both.
        """

        def edit(models: ModelSet) -> ModelSet:
            model = self._configured(models, name)
            known = dict(model.version_labels)
            for label in removed:
                if label in labels:
                    raise InvalidArgument(f"Label {label} is to be set and to be removed")
                if known.pop(label, None) is None:
                    has = listed(sorted(model.version_labels)) or "none"
                    raise NotFound(f"There is no label {label} of {name} to remove; it has {has}")
            changed = dataclasses.replace(model, version_labels={**known, **labels})
            return models.with_model(changed)

        await self._change("set labels of", name, edit, context)
        return self._managed(name)

    async def _change(self, what: str, name: str, edit: Edit, context: CallContext) -> None:
        with self._ended(what, name):
            await self._models.change(edit, deadline=context.deadline)

    @contextmanager
    def _ended(self, what: str, name: str) -> Iterator[None]:
        """Tell how a call to `what` a model has ended."""
        try:
            yield
        except asyncio.CancelledError as error:
            self._told(code_of(error))
            logger.warning("a call to %s model %s has ended, as its caller has left", what, name)
            raise
        except SigrunError as error:
            self._told(error.code)
            text = f"{error.code.name}: {error}"
            logger.warning("a call to %s model %s failed: %s", what, name, text)
            raise
        self._told(Code.OK)
        logger.info("a call to %s model %s is done", what, name)

    def _configured(self, models: ModelSet, name: str) -> ModelConfig:
        model = models.get(name)
        if model is None:
            raise self._models.absence.of_status(name, None)
        return model

    def _managed(self, name: str) -> ManagedModel:
        return ManagedModel(name, self._models.configured.get(name), self._states(name))

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


def _with_logging(model: ModelConfig, known: ModelConfig | None) -> ModelConfig:
    return model if known is None else dataclasses.replace(model, logging=known.logging)
