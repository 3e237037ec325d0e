"""Version labels: names such as `stable` that stand for a version of one model.

The map is replaced whole, after the versions it names have been loaded, so that no
request is led to a version that is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sigrun.errors import FailedPrecondition, InvalidArgument, Unavailable

LabelMap = Mapping[str, Mapping[str, int]]
"""Model name -> label -> version."""

IsAvailable = Callable[[str, int], bool]


class UnknownLabel(InvalidArgument):
    """A model has no such label; the text is TensorFlow Serving's."""

    def __init__(self, label: str) -> None:
        super().__init__(f"Unrecognized servable version label: {label}")
        self.label = label


class VersionLabels:
    """The labels in force.

    `allow_unavailable` lets a new label, or one that stays where it is, point to a version
    that is not available. To move a label there is refused all the same.
    """

    def __init__(self, *, allow_unavailable: bool = False) -> None:
        self._allow_unavailable = allow_unavailable
        self._labels: LabelMap | None = None

    def of(self, name: str) -> Mapping[str, int]:
        """Return the labels of one model."""
        return (self._labels or {}).get(name, {})

    def resolve(self, name: str, label: str) -> int:
        """Return the version that `label` stands for.

        Raises `UnknownLabel`, which is an `InvalidArgument`, `Unavailable` before the first
        `replace`.
        """
        if self._labels is None:
            raise Unavailable(f"Model labels does not init yet.{label}")
        try:
            return self._labels[name][label]
        except KeyError:
            raise UnknownLabel(label) from None

    def check(self, wanted: LabelMap, is_available: IsAvailable) -> None:
        """Raise `FailedPrecondition` if a label in `wanted` may not be assigned now."""
        for name, labels in wanted.items():
            for label, version in labels.items():
                if not (is_available(name, version) or self.may_wait(name, label, version)):
                    raise FailedPrecondition(
                        f"Request to assign label to version {version} of model {name}, "
                        "which is not currently available for inference"
                    )

    def replace(self, wanted: LabelMap) -> None:
        """Put `wanted` in the place of all labels; what it leaves out is gone."""
        self._labels = {name: dict(labels) for name, labels in wanted.items()}

    def may_wait(self, name: str, label: str, version: int) -> bool:
        """Return whether a label may be assigned before its version is available."""
        return self._allow_unavailable and self.of(name).get(label, version) == version
