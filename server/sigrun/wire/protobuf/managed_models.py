"""`sigrun.v1`: models as they are configured and as they fare <-> values."""

from __future__ import annotations

from collections.abc import Mapping

from sigrun._gen.sigrun.v1 import model_management_pb2 as pb
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from sigrun._gen.tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)
from sigrun.config.models import (
    PLATFORM_TENSORFLOW,
    AllVersions,
    LatestVersions,
    ModelConfig,
    SpecificVersions,
)
from sigrun.errors import InvalidArgument
from sigrun.inference.management import ManagedModel
from sigrun.servables.state import ServableState
from sigrun.wire.config_files.model_config import version_policy
from sigrun.wire.protobuf import client_codec, codec


def model_config(message: pb.ModelConfig) -> ModelConfig:
    """Read how a model is to be served. Raises `InvalidArgument`."""
    if not message.name:
        raise InvalidArgument("The config of a model needs a name; given: an empty one")
    return ModelConfig(
        name=message.name,
        base_path=message.base_path,
        platform=message.platform or PLATFORM_TENSORFLOW,
        version_policy=version_policy(message.version_policy),
        version_labels=dict(message.version_labels),
    )


def model(managed: ManagedModel) -> pb.Model:
    """Write a model."""
    config = managed.config
    return pb.Model(
        config=pb.ModelConfig(name=managed.name) if config is None else _config(config),
        versions=codec.status_response(managed.states).model_version_status,
    )


def _config(config: ModelConfig) -> pb.ModelConfig:
    message = pb.ModelConfig(
        name=config.name,
        base_path=config.base_path,
        platform=config.platform,
        version_labels=config.version_labels,
    )
    _write_policy(config, message.version_policy)
    return message


def _write_policy(
    config: ModelConfig, policy: FileSystemStoragePathSourceConfig.ServableVersionPolicy
) -> None:
    match config.version_policy:
        case LatestVersions(num_versions):
            policy.latest.num_versions = num_versions
        case AllVersions():
            policy.all.SetInParent()
        case SpecificVersions(versions):
            policy.specific.versions.extend(sorted(versions))


def states(message: pb.ListModelsResponse) -> Mapping[str, Mapping[int, ServableState]]:
    """Read the states of every model, by name. Raises `Internal` for one that there is not."""
    return {
        each.config.name: client_codec.states(
            each.config.name, GetModelStatusResponse(model_version_status=each.versions)
        )
        for each in message.models
    }
