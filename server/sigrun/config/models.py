"""Which models are served: name, base path, versions and labels of each.

In: what a config file, a reload request or the command line says. Out: a `ModelSet`
that holds every rule a configuration must keep; the texts are TensorFlow Serving's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sigrun.errors import InvalidArgument

PLATFORM_TENSORFLOW = "tensorflow"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class LatestVersions:
    """Serve the `num_versions` highest versions, at least one."""

    num_versions: int = 1

    def select(self, present: Collection[int]) -> frozenset[int]:
        """Return the versions to serve of those that are `present`."""
        return frozenset(sorted(present)[-max(self.num_versions, 1) :])


@dataclass(frozen=True, slots=True)
class AllVersions:
    """Serve every version that is present."""

    def select(self, present: Collection[int]) -> frozenset[int]:
        """Return the versions to serve of those that are `present`."""
        return frozenset(present)


@dataclass(frozen=True, slots=True)
class SpecificVersions:
    """Serve the listed versions, as far as they are present."""

    versions: frozenset[int]

    def select(self, present: Collection[int]) -> frozenset[int]:
        """Return the versions to serve of those that are `present`."""
        return self.versions.intersection(present)


VersionPolicy = LatestVersions | AllVersions | SpecificVersions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model: where its numbered versions lie, which are served, and under which labels.

    Raises `InvalidArgument` for a base path that is neither absolute nor a URI, and for
    a platform other than TensorFlow's.
    """

    name: str
    base_path: str
    platform: str = PLATFORM_TENSORFLOW
    version_policy: VersionPolicy = LatestVersions()
    version_labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not (self.base_path.startswith("/") or _URI.match(self.base_path)):
            raise InvalidArgument(
                f"Expected model {self.name} to have an absolute path or URI; "
                f"got base_path()={self.base_path}"
            )
        if self.platform != PLATFORM_TENSORFLOW:
            raise InvalidArgument(
                f"Model {self.name} requests unsupported platform {self.platform}"
            )


@dataclass(frozen=True, slots=True)
class ModelSet:
    """Every model that is to be served, by name; the complete wanted set.

    Raises `InvalidArgument` when one name is listed twice.
    """

    models: tuple[ModelConfig, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for model in self.models:
            if model.name in seen:
                raise InvalidArgument(
                    f"Illegal to list model {model.name} multiple times in config list"
                )
            seen.add(model.name)

    def __iter__(self) -> Iterator[ModelConfig]:
        return iter(self.models)

    @property
    def names(self) -> frozenset[str]:
        """The names of all models in the set."""
        return frozenset(model.name for model in self.models)

    @property
    def labels(self) -> dict[str, Mapping[str, int]]:
        """Label to version, for every model that has labels."""
        return {model.name: model.version_labels for model in self.models if model.version_labels}
