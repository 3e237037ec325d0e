"""What can be asked about the models, and of them as a set: status and reload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from sigrun.config.models import ModelSet
from sigrun.errors import NotFound, SigrunError
from sigrun.inference.calls import StatusCall
from sigrun.inference.context import CallContext
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.readiness import Readiness
from sigrun.servables.state import ServableState

logger = logging.getLogger(__name__)


class ModelManagement:
    """Status, readiness and reload, for every transport."""

    def __init__(
        self, models: ServedModels, monitor: ServableStateMonitor, readiness: Readiness
    ) -> None:
        self._models = models
        self._monitor = monitor
        self._readiness = readiness
        self._reloads: set[asyncio.Task[None]] = set()

    async def status(self, call: StatusCall) -> Mapping[int, ServableState]:
        """Return the state of every version, or of the one in the spec, highest first.

        Labels do not narrow it. Raises `NotFound` for a model or version never heard of.
        """
        spec = call.spec
        states = self._monitor.states(spec.name)
        if not states:
            raise NotFound(f"Could not find any versions of model {spec.name}")
        if spec.version is None:
            return states
        if spec.version not in states:
            raise NotFound(f"Could not find version {spec.version} of model {spec.name}")
        return {spec.version: states[spec.version]}

    async def models(self, context: CallContext) -> Mapping[str, Mapping[int, ServableState]]:
        """Return the states of the versions of every model known, by name."""
        return {name: self._monitor.states(name) for name in self._readiness.models()}

    async def blockers(self) -> Sequence[str]:
        """Return what keeps traffic from being sent here, empty if nothing does."""
        return self._readiness.blockers()

    async def reload(self, wanted: ModelSet) -> None:
        """Serve `wanted` instead of the current set; see `ServedModels.reload`.

        It goes on when the caller leaves: models may take longer to load than the deadline
        of whoever asked, and half a reload is of no use to anybody.
        """
        task = asyncio.create_task(self._models.reload(wanted), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._note)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Give up reloads that are under way; the set in force before them stays."""
        for task in self._reloads:
            task.cancel()
        if self._reloads:
            await asyncio.wait(self._reloads)

    def _note(self, task: asyncio.Task[None]) -> None:
        self._reloads.discard(task)
        if task.cancelled():
            logger.warning("a reload was given up")
        elif isinstance(error := task.exception(), SigrunError):
            logger.warning("a reload was refused: %s: %s", error.code.name, error)
        elif error is not None:
            logger.error("a reload failed unexpectedly", exc_info=error)
        else:
            logger.info("reloaded: now serving %s", ", ".join(sorted(self._models.current.names)))
