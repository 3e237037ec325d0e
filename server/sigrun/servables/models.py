"""Replace the set of served models as a whole: at start, by request, from a changed file.

A new set is tried next to the old one. It takes over, with its labels, when every newly
named model has a version that can be acquired, every changed base path holds one, and every
version that a label names is there; else the old set goes on as if nothing had been asked.
Nothing else is waited for. Old versions are kept in memory until that is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.errors import (
    Aborted,
    DeadlineExceeded,
    ResourceExhausted,
    SigrunError,
    Unavailable,
    Unknown,
    error_for,
)
from sigrun.servables.absence import Absence
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.servable import ServableId
from sigrun.servables.source import Finding, Source
from sigrun.servables.state import ServableState, State, StateStream

logger = logging.getLogger(__name__)

Awaited = dict[str, str]
"""Model name -> what it is waited for."""

Edit = Callable[[ModelSet], ModelSet]
"""Makes another set of the one in force. Raises a `SigrunError` where that cannot be."""

_MAX_CHANGES = 64  # that wait for each other

_LATE = (
    "The deadline passed before the new models were available; the ones before are served. Give "
    "the call more time"
)
_LATE_AGAIN = (
    "The deadline passed before the versions were loaded again, which goes on. Give the call more "
    "time"
)


class ServedModels:
    """The models that are served now. `start` once, then `reload`; `close` at the end.

    A reload that comes while another is under way takes its place. `absence` says why
    something that is asked for is not there.
    """

    def __init__(
        self,
        *,
        source: Source,
        manager: AspiredVersionsManager,
        monitor: ServableStateMonitor,
        labels: VersionLabels,
        options: LifecycleOptions,
        states: StateStream,
    ) -> None:
        self._source = source
        self._manager = manager
        self._monitor = monitor
        self._labels = labels
        self._options = options
        self.absence = Absence(self, monitor, labels)
        self._current = ModelSet()
        self._expected = ModelSet()
        self._has_started = False
        self._is_closed = False
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._replacing = asyncio.Lock()
        self._trials: set[asyncio.Task[None]] = set()
        source.subscribe(self._changed.set)
        states.subscribe(self._note)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever another set is in force."""
        self._listeners.append(listener)

    @property
    def current(self) -> ModelSet:
        """The set in force."""
        return self._current

    @property
    def configured(self) -> ModelSet:
        """The set in force or, until there is one, the one that is being started."""
        return self._current if self._has_started else self._expected

    @property
    def watched(self) -> Collection[ModelConfig]:
        """The models of the set in force, or of the one that is being started."""
        return self.configured.models

    @property
    def has_started(self) -> bool:
        """Whether the first set is in force."""
        return self._has_started

    def finding(self, name: str) -> Finding | None:
        """Return what the source has found of a model, None if it has not looked."""
        return self._source.finding(name)

    def expect(self, wanted: ModelSet) -> None:
        """Make known which models `start` will be asked for, before anybody can ask for them."""
        self._expected = wanted

    async def start(self, wanted: ModelSet) -> None:
        """Load the first set and return when every model of it is settled.

        While no base path holds a version, that is waited for. Otherwise a model without
        versions, or whose versions fail or take too long, is logged and leaves the others
        alone; the source goes on looking for it.

        Raises `Unknown` if there are models and all of them fail, `DeadlineExceeded` if
        none is available in time, `FailedPrecondition` for a label on a version that is not
        available.
        """
        self.expect(wanted)
        self._source.watch(wanted)
        try:
            await self._until_none(lambda: self._awaited_at_start(wanted))
        except DeadlineExceeded as late:
            if not any(map(self._monitor.is_available, wanted.names)):
                raise
            logger.warning("%s", late)
        failed = {name for name in wanted.names if not self._monitor.is_available(name)}
        if failed:
            error = self._not_available(failed, "servable(s)")
            if failed == wanted.names:
                raise error
            logger.error("%s", error)
        labels = wanted.labels
        self._labels.check(
            {name: labels[name] for name in labels.keys() - failed}, self._monitor.is_available
        )
        self.take_over(wanted)

    async def reload(
        self, wanted: ModelSet, *, takes_over: bool = True, deadline: float | None = None
    ) -> None:
        """Put `wanted` in the place of the current set.

        A reload that is under way ends, unless `takes_over` is False: then it is waited for.
        What has been done is taken back when the caller is cancelled, or at the `deadline`
        (`time.monotonic` seconds): nobody would learn what came of it.

        Raises `Unknown` if a newly named model fails to load, `InvalidArgument` or
        `NotFound` if a base path is missing or has no versions, `FailedPrecondition` for a
        label that may not be assigned, `DeadlineExceeded` if it takes too long,
        `Aborted` if a newer reload has come, `Unavailable` if the server stops. After an
        error the old set and its labels are in force.
        """
        self._check_runs()
        if takes_over:
            self._give_up_trials()
        await self._try(self._replace(wanted), deadline, _LATE)

    async def change(self, edit: Edit, *, deadline: float | None = None) -> None:
        """Put what `edit` makes of the current set in its place.

        Changes are made one after the other, each of the set that the one before has left. Only
        the models that change are judged, and those that are to be found elsewhere are waited for
        until they are settled. A reload that comes meanwhile ends it.

        Raises what `edit` raises and what `reload` does, `ResourceExhausted` if too many wait.
        """
        self._check_runs()
        self._check_changes()
        await self._try(self._change(edit), deadline, _LATE)

    async def load_again(self, name: str, *, deadline: float | None = None) -> None:
        """Load the versions of a model again, each next to itself, and return when that is done.

        Raises what `absence` says of a model that there is not, the first error of a version that
        cannot be loaded, the problem of its base path, and what `change` raises.
        """
        self._check_runs()
        self._check_changes()
        await self._try(self._load_again(name), deadline, _LATE_AGAIN)

    def _check_runs(self) -> None:
        if self._is_closed or not self._has_started:
            raise Unavailable(f"The server is {'stopping' if self._is_closed else 'starting'}")

    def _check_changes(self) -> None:
        if len(self._trials) >= _MAX_CHANGES:
            raise ResourceExhausted(
                f"{len(self._trials)} changes of the models wait for each other; try again later"
            )

    async def _try(
        self, work: Coroutine[Any, Any, None], deadline: float | None, late: str
    ) -> None:
        trial = asyncio.create_task(work, name="reload")
        self._trials.add(trial)
        trial.add_done_callback(self._trials.discard)
        left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        try:
            await asyncio.wait([trial], timeout=left_s)
        finally:
            is_late = not trial.done()
            if is_late:
                trial.cancel()
                await asyncio.wait([trial])
        if trial.cancelled():
            if is_late:
                raise DeadlineExceeded(late)
            if self._is_closed:
                raise Unavailable("The reload was given up, as the server is stopping")
            raise Aborted("The reload was given up, as a newer one has come")
        trial.result()

    async def close(self) -> None:
        """Give up reloads that are under way; the set in force before them stays."""
        self._is_closed = True
        trials = self._give_up_trials()
        if trials:
            await asyncio.wait(trials)

    def _give_up_trials(self) -> list[asyncio.Task[None]]:
        trials = list(self._trials)
        for trial in trials:
            trial.cancel()
        return trials

    async def _replace(self, wanted: ModelSet) -> None:
        async with self._replacing:
            await self._try_out(wanted, wanted, lambda: self._awaited_by_reload(wanted))

    async def _change(self, edit: Edit) -> None:
        async with self._replacing:
            before = self._current
            wanted = edit(before)
            changed = ModelSet(tuple(m for m in wanted if m != before.get(m.name)))
            await self._try_out(wanted, changed, lambda: self._awaited_by_change(changed))

    async def _try_out(
        self, wanted: ModelSet, judged: ModelSet, awaited: Callable[[], Awaited]
    ) -> None:
        """Watch `wanted`, and take it over or go back; the labels of `judged` are checked."""
        with self._manager.unloads_held():
            go_back = self._source.watch(wanted)
            try:
                await self._until_none(awaited)
                self._labels.check(judged.labels, self._monitor.is_available)
            except BaseException:
                go_back()
                raise
            self.take_over(wanted)

    async def _load_again(self, name: str) -> None:
        async with self._replacing:
            if self._current.get(name) is None:
                raise self.absence.of_status(name, None)
            self._manager.mark_stale(name)
            self._source.look_again(name)
            await self._until_none(lambda: self._awaited_by_load_again(name))
            for version, error in self._manager.refusals(name).items():
                raise error_for(
                    error.code,
                    f"Version {version} of {name} is served as it was, as it could not be loaded "
                    f"again: {error}",
                )
            finding = self._source.finding(name)
            for version in finding.chosen if finding else ():
                state = self._monitor.state(ServableId(name, version))
                if state is not None and state.state is State.END and state.error is not None:
                    raise error_for(state.error.code, f"{state.id} failed to load: {state.error}")

    def take_over(self, wanted: ModelSet) -> None:
        """Put a set in force, with its labels, of which is known that it can be."""
        self._labels.replace(wanted.labels)
        self._current = wanted
        self._has_started = True
        for listener in self._listeners:
            listener()

    async def _until_none(self, awaited: Callable[[], Awaited]) -> None:
        """Return when nothing is awaited any more, or raise what `awaited` raises."""
        limit_s = self._options.settle_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while awaited():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            reasons = "; ".join(f"{name} ({reason})" for name, reason in awaited().items())
            raise DeadlineExceeded(
                f"After {limit_s:g} s these models were not settled: {reasons}"
            ) from None

    def _awaited_at_start(self, wanted: ModelSet) -> Awaited:
        findings = {name: self._source.finding(name) for name in sorted(wanted.names)}
        if findings and not any(finding and finding.chosen for finding in findings.values()):
            return {name: _why_none(finding) for name, finding in findings.items()}
        awaited: Awaited = {}
        for model in wanted:
            finding = findings[model.name]
            if finding is None or not self._manager.is_settled(model.name):
                awaited[model.name] = _why_none(finding)
            elif not finding.is_overdue:  # else one model would keep all others waiting
                if finding.is_settling:
                    awaited[model.name] = _why_none(finding)
                awaited |= self._awaited_by_labels(model)
        return awaited

    def _awaited_by_reload(self, wanted: ModelSet) -> Awaited:
        """Return what keeps `wanted` from being judged. Raises if it cannot be taken over."""
        awaited: Awaited = {}
        for model in wanted:
            before = self._current.get(model.name)
            if model != before:
                awaited |= self._awaited_of_changed(model, before)
            if model.name not in awaited:
                awaited |= self._awaited_by_labels(model)
        added = wanted.names - self._current.names - awaited.keys()
        if failed := {name for name in added if not self._monitor.is_available(name)}:
            raise self._not_available(failed, "model(s)")
        return awaited

    def _awaited_by_change(self, changed: ModelSet) -> Awaited:
        """Return what keeps `changed` from being judged. Raises if it cannot be taken over."""
        awaited: Awaited = {}
        for model in changed:
            before = self._current.get(model.name)
            # One that is looked for elsewhere is waited for like a new one.
            awaited |= self._awaited_of_changed(
                model, None if _looks_elsewhere(model, before) else before
            )
            if model.name not in awaited:
                awaited |= self._awaited_by_labels(model)
        new = {m.name for m in changed if _looks_elsewhere(m, self._current.get(m.name))}
        if failed := {n for n in new - awaited.keys() if not self._monitor.is_available(n)}:
            raise self._not_available(failed, "model(s)")
        return awaited

    def _awaited_by_load_again(self, name: str) -> Awaited:
        finding = self._source.finding(name)
        if finding is None:
            return {name: _why_none(None)}
        if finding.problem is not None and not finding.is_settling:
            raise finding.problem
        return {} if self._manager.is_fresh(name) else {name: "still loading"}

    def _awaited_of_changed(self, model: ModelConfig, before: ModelConfig | None) -> Awaited:
        finding = self._source.finding(model.name)
        if finding is None:
            return {model.name: _why_none(None)}
        problem = None if finding.is_settling else finding.problem
        if problem is not None and _looks_elsewhere(model, before):
            raise problem
        if before is None and (finding.is_settling or not self._manager.is_settled(model.name)):
            return {model.name: _why_none(finding)}
        return {}

    def _awaited_by_labels(self, model: ModelConfig) -> Awaited:
        finding = self._source.finding(model.name)
        settling = finding.settling if finding else {}
        for label, version in model.version_labels.items():
            if self._labels.may_wait(model.name, label, version):
                continue
            if self._monitor.is_available(model.name, version):
                continue
            if version in settling:
                return {model.name: settling[version]}
            state = self._monitor.state(ServableId(model.name, version))
            if state is not None and state.state in (State.START, State.LOADING):
                return {model.name: f"version {version} is still loading"}
        return {}

    def _note(self, state: ServableState) -> None:
        """Wake whoever waits, and warn of labels that lead nowhere from now on."""
        self._changed.set()
        if state.state is not State.UNLOADING or self._is_closed:
            return
        for label, version in self._labels.of(state.id.name).items():
            if version == state.id.version:
                logger.warning(
                    "label %s of servable %s is version %d, which is being unloaded: requests "
                    "for it are refused until the label names another",
                    label,
                    state.id.name,
                    version,
                )

    def _not_available(self, names: Collection[str], what: str) -> SigrunError:
        reasons = "".join(f"{self._reason(name)}, " for name in sorted(names))
        return Unknown(f"{len(names)} {what} did not become available: {{{reasons}}}")

    def _reason(self, name: str) -> str:
        for version, state in self._monitor.states(name).items():
            if state.state is State.END and state.error is not None:
                error = state.error
                return (
                    f"{{name: {name} version: {version}}} due to error: "
                    f"{error.code.name}: {error}}}"
                )
        return f"{{name: {name}}} due to error: {_why_none(self._source.finding(name))}}}"


def _looks_elsewhere(model: ModelConfig, before: ModelConfig | None) -> bool:
    """Return whether other versions are asked for than before."""
    return before is None or (
        (model.base_path, model.version_policy) != (before.base_path, before.version_policy)
    )


def _why_none(finding: Finding | None) -> str:
    """Say why no version of a model can be acquired yet."""
    if finding is None:
        return "its base path has not answered yet"
    return str(finding.problem or "still loading")
