"""From a model spec to a pinned version."""

from __future__ import annotations

from typing import Protocol

from sigrun.errors import InvalidArgument, ServableNotFound
from sigrun.inference.calls import DEFAULT_SIGNATURE, ModelSpec, ResolvedSpec
from sigrun.servables.absence import Absence
from sigrun.servables.handle import ServableHandle
from sigrun.servables.labels import UnknownLabel, VersionLabels
from sigrun.servables.manager import AspiredVersionsManager


class Pinning(Protocol):
    """Finds what a request names, and pins it."""

    def pin(self, spec: ModelSpec) -> ServableHandle:
        """Return a handle on the version that `spec` names; use it in a `with`."""


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
        if not spec.name:
            raise InvalidArgument("ModelSpec has no name specified.")
        version = spec.version
        try:
            if spec.label is not None:
                version = self._labels.resolve(spec.name, spec.label)
            return self._manager.acquire(spec.name, version)
        except (UnknownLabel, ServableNotFound):
            if self._absence is None:
                raise
            raise self._absence.of_servable(spec.name, version, spec.label) from None


def resolved(spec: ModelSpec, handle: ServableHandle) -> ResolvedSpec:
    """Return the spec of an answer: the version that gave it, the default signature by name."""
    id = handle.id
    return ResolvedSpec(id.name, id.version, spec.signature_name or DEFAULT_SIGNATURE)
