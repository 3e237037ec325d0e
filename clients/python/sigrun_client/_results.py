"""What comes back: arrays, classes and values, with the version that gave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
from google.protobuf.descriptor import EnumDescriptor
from numpy.typing import NDArray

from sigrun_client._gen.sigrun.v1.model_management_pb2 import Model
from sigrun_client._gen.tensorflow.core.protobuf import error_codes_pb2
from sigrun_client._gen.tensorflow_serving.apis.classification_pb2 import ClassificationResult
from sigrun_client._gen.tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from sigrun_client._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun_client._gen.tensorflow_serving.apis.regression_pb2 import RegressionResult
from sigrun_client._tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictResult(Mapping[str, Array]):
    """The outputs of one request, by name.

    Arrays are read-only, as large ones are views of the bytes received; `.copy()` one to
    change it. Strings are object arrays of `bytes`; `text` decodes them.
    """

    model: str
    version: int
    signature: str
    outputs: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def text(self, name: str) -> NDArray[np.str_]:
        """Return an output of strings as `str`; bytes that are not UTF-8 raise."""
        array = self.outputs[name]
        texts = [value.decode() for value in array.reshape(-1).tolist()]
        return np.array(texts, np.str_).reshape(array.shape)


class Class(NamedTuple):
    """One class of a row; no label ("") or no score (0.0) where the model gives none."""

    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyResult(Sequence[tuple[Class, ...]]):
    """The classes of each example, in the model's order."""

    model: str
    version: int
    signature: str
    rows: tuple[tuple[Class, ...], ...]

    @overload
    def __getitem__(self, index: int) -> tuple[Class, ...]: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[Class, ...], ...]: ...

    def __getitem__(self, index: int | slice) -> tuple[Class, ...] | tuple[tuple[Class, ...], ...]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def top(self, count: int = 1) -> list[list[Class]]:
        """Return the `count` classes of each example with the highest scores, highest first."""
        return [sorted(row, key=lambda one: -one.score)[:count] for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressResult:
    """A float32 for each example."""

    model: str
    version: int
    signature: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """Where a version is in its life, and why.

    `state` is START, LOADING, AVAILABLE, UNLOADING or END; `code` is OK unless loading failed,
    and `message` is then the error.
    """

    version: int
    state: str
    code: str
    message: str

    @property
    def is_available(self) -> bool:
        """Whether it takes requests."""
        return self.state == "AVAILABLE"

    def __str__(self) -> str:
        failure = "" if self.code == "OK" else f" ({self.code}: {self.message})"
        return f"version {self.version} {self.state}{failure}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model as a server serves it, with the states of its versions, the newest first.

    One that is still being unloaded has no `base_path` any more.
    """

    name: str
    base_path: str
    labels: Mapping[str, int]
    versions: tuple[VersionStatus, ...]


def predict_result(spec: ModelSpec, outputs: Mapping[str, Array]) -> PredictResult:
    """Put together what Predict answered."""
    return PredictResult(
        model=spec.name,
        version=spec.version.value,
        signature=spec.signature_name,
        outputs=dict(sorted(outputs.items())),
    )


def classify_result(spec: ModelSpec, result: ClassificationResult) -> ClassifyResult:
    """Put together what Classify answered."""
    rows = tuple(
        tuple(Class(one.label, one.score) for one in row.classes) for row in result.classifications
    )
    return ClassifyResult(
        model=spec.name, version=spec.version.value, signature=spec.signature_name, rows=rows
    )


def regress_result(spec: ModelSpec, result: RegressionResult) -> RegressResult:
    """Put together what Regress answered."""
    values = np.array([regression.value for regression in result.regressions], np.float32)
    return RegressResult(
        model=spec.name, version=spec.version.value, signature=spec.signature_name, values=values
    )


def version_status(proto: ModelVersionStatus) -> VersionStatus:
    """Read one entry of the answer to GetModelStatus."""
    return VersionStatus(
        version=proto.version,
        state=_name(ModelVersionStatus.State.DESCRIPTOR, proto.state),
        code=code_name(proto.status.error_code),
        message=proto.status.error_message,
    )


def model_info(proto: Model) -> ModelInfo:
    """Read a model in an answer of sigrun's own service."""
    return ModelInfo(
        name=proto.config.name,
        base_path=proto.config.base_path,
        labels=dict(sorted(proto.config.version_labels.items())),
        versions=tuple(map(version_status, proto.versions)),
    )


def code_name(number: int) -> str:
    """Return the name of a canonical code; a number that is none is named by itself."""
    return _name(error_codes_pb2.Code.DESCRIPTOR, number)


def _name(enum: EnumDescriptor, number: int) -> str:
    known = enum.values_by_number.get(number)
    return known.name if known else str(number)
