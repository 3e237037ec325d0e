"""What can be asked about the models, and of them: status, reload of the set, change of one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sigrun.config.models import ModelConfig, ModelSet
from sigrun.errors import InvalidArgument, NotFound, SigrunError
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext
from sigrun.servables.models import Edit, ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.readiness import Readiness
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State

logger = logging.getLogger(__name__)


class ManagedModel(NamedTuple):
    """A model as it is configured, None if it is on its way out, and the states of its versions."""

    name: str
    config: ModelConfig | None
    states: Mapping[int, ServableState]


class ModelManagement:
    """Status, readiness, reload and changes, for every transport."""

    def __init__(
        self, models: ServedModels, monitor: ServableStateMonitor, readiness: Readiness
    ) -> None:
        self._models = models
        self._monitor = monitor
        self._readiness = readiness

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

    async def reload(self, wanted: ModelSet, deadline: float | None = None) -> None:
        """Serve `wanted` instead of the current set; see `ServedModels.reload`."""
        try:
            await self._models.reload(wanted, deadline=deadline)
        except asyncio.CancelledError:
            logger.warning("a reload was taken back, as its caller has left")
            raise
        except SigrunError as error:
            logger.warning("a reload was refused: %s: %s", error.code.name, error)
            raise
        logger.info("reloaded: now serving %s", ", ".join(sorted(self._models.current.names)))

    async def listing(self, context: CallContext) -> Sequence[ManagedModel]:
        """Return every model known, in the order of their names."""
        return [self._managed(name) for name in self._readiness.models()]

    async def load(self, model: ModelConfig, context: CallContext) -> ManagedModel:
        """Serve `model`, in the place of the one of its name; see `ServedModels.change`.

        One that is configured so already, and of which no version is available, is loaded again.
        """
        is_known = model == self._models.current.get(model.name)
        if is_known and not self._monitor.is_available(model.name):
            return await self.load_again(model.name, context)
        await self._change("load", model.name, lambda models: models.with_model(model), context)
        return self._managed(model.name)

    async def unload(self, name: str, context: CallContext) -> None:
        """Serve a model no longer. Raises `NotFound` for one that there is not."""

        def edit(models: ModelSet) -> ModelSet:
            self._configured(models, name)
            return models.without(name)

        await self._change("unload", name, edit, context)

    async def load_again(self, name: str, context: CallContext) -> ManagedModel:
        """Load the versions of a model again; see `ServedModels.load_again`."""
        with _told("reload", name):
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
                    has = ", ".join(sorted(model.version_labels)) or "none"
                    raise NotFound(f"There is no label {label} of {name} to remove; it has {has}")
            changed = dataclasses.replace(model, version_labels={**known, **labels})
            return models.with_model(changed)

        await self._change("set labels of", name, edit, context)
        return self._managed(name)

    async def _change(self, what: str, name: str, edit: Edit, context: CallContext) -> None:
        with _told(what, name):
            await self._models.change(edit, deadline=context.deadline)

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
        """Return the states of a model's versions, with what is known of their files."""
        states = dict(self._monitor.states(name))
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


@contextmanager
def _told(what: str, name: str) -> Iterator[None]:
    """Say in the log what came of a call to `what` a model."""
    try:
        yield
    except asyncio.CancelledError:
        logger.warning("a call to %s model %s has ended, as its caller has left", what, name)
        raise
    except SigrunError as error:
        logger.warning("a call to %s model %s failed: %s: %s", what, name, error.code.name, error)
        raise
    logger.info("a call to %s model %s is done", what, name)
