"""ModelServerConfig, as a message or as a text file -> `ModelSet`.

Every rule and text is TensorFlow Serving's; those that hold for any model, wherever its
configuration comes from, are in `sigrun.config.models`.
"""

from __future__ import annotations

from pathlib import Path

from sigrun._gen.tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)
from sigrun._gen.tensorflow_serving.config.logging_config_pb2 import SamplingConfig
from sigrun._gen.tensorflow_serving.config.model_server_config_pb2 import (
    ModelConfig as ModelConfigProto,
)
from sigrun._gen.tensorflow_serving.config.model_server_config_pb2 import (
    ModelServerConfig,
    ModelType,
)
from sigrun.config.models import (
    MAX_MODELS,
    PLATFORM_TENSORFLOW,
    AllVersions,
    LatestVersions,
    ModelConfig,
    ModelSet,
    SpecificVersions,
    VersionPolicy,
    check_number,
)
from sigrun.config.request_log import LogKind, RequestLogging
from sigrun.errors import FailedPrecondition, InvalidArgument
from sigrun.wire.config_files.text_format import read_message

_PolicyProto = FileSystemStoragePathSourceConfig.ServableVersionPolicy


def from_file(path: Path) -> ModelSet:
    """Read the config file that a server starts with; an empty one means no models.

    Raises `NotFound` if it is not there and `InvalidArgument` for what is wrong in it.
    """
    config = read_message(path, ModelServerConfig)
    if config.WhichOneof("config") == "custom_model_config":
        raise InvalidArgument("ModelServer does not yet support custom model config.")
    return _model_set(config)


def from_changed_file(path: Path) -> ModelSet:
    """Read the config file of a running server again.

    Raises as `from_file` does, and `FailedPrecondition` if it holds no list of models.
    """
    config = read_message(path, ModelServerConfig)
    if config.WhichOneof("config") != "model_config_list":
        raise FailedPrecondition(
            "Cannot transition to requested config. It is only legal to transition from one "
            "ModelConfigList to another."
        )
    return _model_set(config)


def from_reload(config: ModelServerConfig) -> ModelSet:
    """Read the configuration of a reload request.

    Raises `InvalidArgument` for what is wrong in it.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidArgument(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    return _model_set(config)


def _model_set(config: ModelServerConfig) -> ModelSet:
    models = config.model_config_list.config
    check_number("models", len(models), MAX_MODELS)  # before work is done on each
    return ModelSet(tuple(map(_model, models)))


def _model(model: ModelConfigProto) -> ModelConfig:
    return ModelConfig(
        name=model.name,
        base_path=model.base_path,
        platform=_platform(model),
        version_policy=version_policy(model.model_version_policy),
        version_labels=dict(model.version_labels),
        logging=_logging(model),
    )


def _logging(model: ModelConfigProto) -> RequestLogging | None:
    if not model.HasField("logging_config"):
        return None
    config = model.logging_config
    collector, sampling = config.log_collector_config, config.sampling_config
    kinds = [kind.value for kind in LogKind]
    wrong = ""
    if config.HasField("custom_logging_config"):
        wrong = "custom_logging_config is for servers built with a logger of their own"
    elif sampling.per_task_sampling_configs:
        wrong = "per_task_sampling_configs name tasks of a fleet, which this server does not know"
    elif collector.type not in ("", *kinds):
        wrong = f"log_collector_config.type is {collector.type!r}, and can be {', '.join(kinds)}"
    if wrong:
        raise InvalidArgument(f"logging_config of model {model.name}: {wrong}")
    try:
        return RequestLogging(
            filename_prefix=collector.filename_prefix,
            sampling_rate=sampling.sampling_rate,
            kind=LogKind(collector.type or LogKind.TF_RECORD.value),
            logs_origin=bool(sampling.attributes & SamplingConfig.ATTR_REQUEST_ORIGIN),
        )
    except InvalidArgument as error:
        raise InvalidArgument(f"logging_config of model {model.name}: {error}") from None


def _platform(model: ModelConfigProto) -> str:
    has_type, has_platform = (
        model.model_type != ModelType.MODEL_TYPE_UNSPECIFIED,
        (model.model_platform != ""),
    )
    if has_type == has_platform:
        choice = "both" if has_type else "neither"
        link = "and" if has_type else "nor"
        raise InvalidArgument(
            f"Illegal setting {choice} ModelServerConfig::model_type (deprecated) {link} "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if has_platform:
        return model.model_platform
    if model.model_type != ModelType.TENSORFLOW:
        raise InvalidArgument(
            f"ModelServerConfig::model_type choice {model.model_type} not supported."
        )
    return PLATFORM_TENSORFLOW


def version_policy(policy: _PolicyProto) -> VersionPolicy:
    """Read which versions are served; an empty message means the latest one."""
    match policy.WhichOneof("policy_choice"):
        case "all":
            return AllVersions()
        case "specific":
            return SpecificVersions(frozenset(policy.specific.versions))
        case _:
            return LatestVersions(policy.latest.num_versions)
