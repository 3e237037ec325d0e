"""Which models are served: name, base path, versions and labels of each.

In: what a config file, a reload request or the command line says. Out: a `ModelSet`
that holds every rule a configuration must keep; the texts are TensorFlow Serving's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sigrun.config.request_log import RequestLogging
from sigrun.errors import InvalidArgument

PLATFORM_TENSORFLOW = "tensorflow"
PLATFORMS = frozenset({PLATFORM_TENSORFLOW})
"""What models may be made of; the server has a way to load each."""

STORES = ("s3", "gs", "gcs", "az", "abfs", "http", "https")
"""The schemes of base paths in object stores."""

MAX_MODELS = 10_000
MAX_LABELS = 1_000
"""Of one model."""
MAX_SPECIFIC_VERSIONS = 10_000
"""Of one model. The limits are far above what one server holds: a mistake is told as one."""

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL_FILE = re.compile(r"file://(?:localhost)?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)


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
    """Serve the listed versions, as far as they are present.

    Raises `InvalidArgument` for more than `MAX_SPECIFIC_VERSIONS`.
    """

    versions: frozenset[int]

    def __post_init__(self) -> None:
        check_number("specific versions", len(self.versions), MAX_SPECIFIC_VERSIONS)

    def select(self, present: Collection[int]) -> frozenset[int]:
        """Return the versions to serve of those that are `present`."""
        return self.versions.intersection(present)


VersionPolicy = LatestVersions | AllVersions | SpecificVersions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model: where its numbered versions lie, which are served, and under which labels.

    Raises `InvalidArgument` for a base path that is neither absolute nor a URI of a known kind,
    for a platform that is not one of `PLATFORMS` and for more than `MAX_LABELS` labels.
    """

    name: str
    base_path: str
    platform: str = PLATFORM_TENSORFLOW
    version_policy: VersionPolicy = LatestVersions()
    version_labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    logging: RequestLogging | None = None  # None: no request is logged

    def __post_init__(self) -> None:
        _check_base_path(self.name, self.base_path)
        check_number(f"labels of model {self.name}", len(self.version_labels), MAX_LABELS)
        if self.platform not in PLATFORMS:
            raise InvalidArgument(
                f"Model {self.name} requests unsupported platform {self.platform}"
            )

    @property
    def is_stored(self) -> bool:
        """Whether the base path is in an object store, and `folder` a URL."""
        return _URI.match(self.folder) is not None

    @property
    def folder(self) -> str:
        """The base path as a path of the local file system, or as the URL that it is."""
        local = _LOCAL_FILE.fullmatch(self.base_path)
        return local["path"] if local else self.base_path

    def select(self, present: Collection[int]) -> frozenset[int]:
        """Return the versions to serve of those that are `present`.

        Next to the latest versions those stay that a label names: requests for the label
        would fail the moment a newer version replaces them.
        """
        selected = self.version_policy.select(present)
        if isinstance(self.version_policy, LatestVersions):
            selected |= frozenset(self.version_labels.values()).intersection(present)
        return selected


def check_number(what: str, number: int, most: int) -> None:
    """Raise `InvalidArgument` if a configuration has more than `most` of something."""
    if number > most:
        raise InvalidArgument(f"{number} {what} are configured; {most} can be")


def _check_base_path(name: str, base_path: str) -> None:
    if base_path.startswith("/") or _LOCAL_FILE.fullmatch(base_path):
        return
    if (uri := _URI.match(base_path)) is None:
        raise InvalidArgument(
            f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}"
        )
    if uri["scheme"] not in STORES:
        known = ", ".join(f"{scheme}://" for scheme in STORES)
        raise InvalidArgument(
            f"Model {name} has base_path()={base_path}, but models are read from /path, "
            f"file:///path and {known}; {uri['scheme']}:// is not supported"
        )


@dataclass(frozen=True, slots=True)
class ModelSet:
    """Every model that is to be served, by name; the complete wanted set.

    Raises `InvalidArgument` when one name is listed twice, or more than `MAX_MODELS` are.
    """

    models: tuple[ModelConfig, ...] = ()

    def __post_init__(self) -> None:
        check_number("models", len(self.models), MAX_MODELS)
        seen: set[str] = set()
        for model in self.models:
            if model.name in seen:
                raise InvalidArgument(
                    f"Illegal to list model {model.name} multiple times in config list"
                )
            seen.add(model.name)

    def __iter__(self) -> Iterator[ModelConfig]:
        return iter(self.models)

    def get(self, name: str) -> ModelConfig | None:
        """Return the model of that name, None if there is none."""
        return next((model for model in self.models if model.name == name), None)

    def with_model(self, model: ModelConfig) -> ModelSet:
        """Return the set with `model` in the place of the one of its name, or at the end."""
        models = {each.name: each for each in self.models} | {model.name: model}
        return ModelSet(tuple(models.values()))

    def without(self, name: str) -> ModelSet:
        """Return the set without the model of that name."""
        return ModelSet(tuple(model for model in self.models if model.name != name))

    @property
    def names(self) -> frozenset[str]:
        """The names of all models in the set."""
        return frozenset(model.name for model in self.models)

    @property
    def labels(self) -> dict[str, Mapping[str, int]]:
        """Label to version, for every model that has labels."""
        return {model.name: model.version_labels for model in self.models if model.version_labels}
