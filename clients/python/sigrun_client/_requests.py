"""What is asked for -> messages of the protocol. Pure; Predict's bytes are in `_predict`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

import numpy as np
from google.protobuf import text_format

from sigrun_client._errors import InvalidInput
from sigrun_client._gen import POOL
from sigrun_client._gen.sigrun.v1.model_management_pb2 import ModelConfig as ManagedConfigProto
from sigrun_client._gen.tensorflow.core.example.example_pb2 import Example
from sigrun_client._gen.tensorflow.core.example.feature_pb2 import Feature
from sigrun_client._gen.tensorflow_serving.apis.inference_pb2 import InferenceTask
from sigrun_client._gen.tensorflow_serving.apis.input_pb2 import (
    ExampleList,
    ExampleListWithContext,
    Input,
)
from sigrun_client._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun_client._gen.tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)
from sigrun_client._gen.tensorflow_serving.config.model_server_config_pb2 import (
    ModelConfig as ModelConfigProto,
)
from sigrun_client._gen.tensorflow_serving.config.model_server_config_pb2 import (
    ModelServerConfig,
)
from sigrun_client._tensors import TensorLike

_MAX_INT64 = (1 << 63) - 1


class SerializesToString(Protocol):
    """A message of any protobuf pool, such as `tf.train.Example`."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802  # protobuf's name


FeatureLike: TypeAlias = TensorLike
ExampleLike: TypeAlias = Mapping[str, FeatureLike] | bytes | SerializesToString
"""Features by name, or a tf.Example as bytes or as a message."""

Method: TypeAlias = Literal["classify", "regress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a request is for. Raises `InvalidInput` for both a version and a label."""

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise InvalidInput(
                f"a request is for a version or for a label; "
                f"given: version {self.version} and label {self.label!r}"
            )

    def spec(self, signature: str = "") -> ModelSpec:
        """Return the target as the protocol has it, with the signature to run."""
        spec = ModelSpec(name=self.model, signature_name=signature)
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label
        return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A model that a server is to serve: the `latest` versions, or the `versions` listed.

    `base_path` is as the server sees it. `latest=None` without `versions` means all of them.
    """

    name: str
    base_path: str
    latest: int | None = 1
    versions: Sequence[int] = ()
    labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    platform: str = "tensorflow"


def examples_input(examples: Iterable[ExampleLike], context: ExampleLike | None = None) -> Input:
    """Return the rows of Classify, Regress and MultiInference. Raises `InvalidInput`."""
    if isinstance(examples, Mapping | bytes):
        raise InvalidInput("examples are a list, of one entry for each row")
    protos = [_example(example) for example in examples]
    if context is None:
        return Input(example_list=ExampleList(examples=protos))
    with_context = ExampleListWithContext(examples=protos, context=_example(context))
    return Input(example_list_with_context=with_context)


def _example(example: ExampleLike) -> Example:
    if isinstance(example, Mapping):
        proto = Example()
        for name, value in example.items():
            proto.features.feature[name].CopyFrom(_feature(name, value))
        return proto
    encoded = example if isinstance(example, bytes) else example.SerializeToString()
    try:
        return Example.FromString(encoded)
    except Exception as error:
        raise InvalidInput(f"{len(encoded)} bytes are no tf.Example: {error}") from None


def _feature(name: str, value: FeatureLike) -> Feature:
    """Return bytes for strings, int64 for integers and booleans, floats for floats."""
    feature = Feature()
    array = np.asarray(value, object).reshape(-1)
    values = [one.item() if isinstance(one, np.generic) else one for one in array.tolist()]
    kinds = {type(one) for one in values}
    if kinds <= {str, bytes}:
        encoded = [one.encode() if isinstance(one, str) else one for one in values]
        if encoded:
            feature.bytes_list.value.extend(encoded)
    elif kinds <= {bool, int}:
        if any(not -_MAX_INT64 - 1 <= one <= _MAX_INT64 for one in values):
            raise InvalidInput(f"feature {name!r} has integers of more than 64 bits")
        feature.int64_list.value.extend(map(int, values))
    elif kinds <= {bool, int, float}:
        feature.float_list.value.extend(map(float, values))
    else:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidInput(
            f"feature {name!r} holds strings, or integers, or floats; given: {names}"
        )
    return feature


def tasks(target: Target, signatures: Mapping[str, Method]) -> list[InferenceTask]:
    """Return what MultiInference computes: a method for each signature."""
    return [
        InferenceTask(model_spec=target.spec(name), method_name=f"tensorflow/serving/{method}")
        for name, method in signatures.items()
    ]


def server_config(config: str | Iterable[ModelConfig]) -> ModelServerConfig:
    """Return a server's configuration, from its text form or from models.

    Raises `InvalidInput` for a text that is none.
    """
    message = ModelServerConfig()
    if isinstance(config, str):
        try:
            return text_format.Parse(config, message, descriptor_pool=POOL)
        except text_format.ParseError as error:
            raise InvalidInput(f"this is no ModelServerConfig: {error}") from None
    message.model_config_list.SetInParent()
    for model in config:
        message.model_config_list.config.append(_model_config(model))
    return message


def _model_config(model: ModelConfig) -> ModelConfigProto:
    proto = ModelConfigProto(
        name=model.name,
        base_path=model.base_path,
        model_platform=model.platform,
        version_labels=model.labels,
    )
    _write_policy(model, proto.model_version_policy)
    return proto


def managed_config(model: ModelConfig) -> ManagedConfigProto:
    """Return how one model is to be served, for sigrun's own service."""
    proto = ManagedConfigProto(
        name=model.name,
        base_path=model.base_path,
        platform=model.platform,
        version_labels=model.labels,
    )
    _write_policy(model, proto.version_policy)
    return proto


def _write_policy(
    model: ModelConfig, policy: FileSystemStoragePathSourceConfig.ServableVersionPolicy
) -> None:
    if model.versions:
        policy.specific.versions.extend(model.versions)
    elif model.latest is None:
        policy.all.SetInParent()
    else:
        policy.latest.num_versions = model.latest
