"""From a model spec to a pinned version."""

from __future__ import annotations

from typing import Protocol

from sigrun.errors import InvalidArgument, ServableNotFound
from sigrun.inference.calls import DEFAULT_SIGNATURE, ModelSpec, ResolvedSpec
from sigrun.servables.absence import Absence
from sigrun.servables.handle import LoadedVersion, ServableHandle
from sigrun.servables.labels import UnknownLabel, VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.servable import ServableId


class Pinning(Protocol):
    """Finds what a request names, and pins it."""

    def pin(self, spec: ModelSpec) -> ServableHandle:
        """Return a handle on the version that `spec` names; use it in a `with`."""

    def find(self, spec: ModelSpec) -> LoadedVersion:
        """Return what `pin` pins, for use until the caller lets go of the event loop."""


class Router:
    """Finds what a request names. `absence` adds to an error why it is not there."""

    def __init__(
        self,
        manager: AspiredVersionsManager,
        labels: VersionLabels,
        absence: Absence | None = None,
    ) -> None:
        self._manager = manager
        self._labels = labels
        self._absence = absence

    def pin(self, spec: ModelSpec) -> ServableHandle:
        """Return a handle on the version that `spec` names; use it in a `with`.

        Raises `InvalidArgument` for a spec without name or an unknown label, `Unavailable`
        for a version that is on its way, `NotFound` when it is not there.
        """
        return ServableHandle(self.find(spec))

    def find(self, spec: ModelSpec) -> LoadedVersion:
        """Return what `pin` pins, for use until the caller lets go of the event loop.

        Raises what `pin` raises.
        """
        if not spec.name:
            raise InvalidArgument("ModelSpec has no name specified.")
        version = spec.version
        try:
            if spec.label is not None:
                version = self._labels.resolve(spec.name, spec.label)
            return self._manager.find(spec.name, version)
        except (UnknownLabel, ServableNotFound):
            if self._absence is None:
                raise
            raise self._absence.of_servable(spec.name, version, spec.label) from None


def resolved(spec: ModelSpec, id: ServableId) -> ResolvedSpec:
    """Return the spec of an answer: the version that gave it, the default signature by name."""
    return ResolvedSpec(id.name, id.version, spec.signature_name or DEFAULT_SIGNATURE)
