from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format

from sigrun._gen import POOL
from sigrun._gen.tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig
from sigrun.config.models import (
    AllVersions,
    LatestVersions,
    ModelSet,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.config.request_log import LogKind, RequestLogging
from sigrun.errors import Code, InvalidArgument, SigrunError
from sigrun.wire.config_files.model_config import from_changed_file, from_file, from_reload

MNIST = 'name: "mnist" base_path: "/models/mnist" model_platform: "tensorflow"'
NO_LIST = (
    "Cannot transition to requested config. It is only legal to transition from one "
    "ModelConfigList to another."
)
NO_LIST_IN_REQUEST = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
    "Only ModelConfigList is currently supported"
)
CUSTOM = 'custom_model_config { type_url: "type.googleapis.com/mine" }'


def models(*entries: str) -> str:
    """Return the text of a config that lists these models."""
    return "model_config_list {" + "".join(f" config {{ {entry} }}" for entry in entries) + " }"


def message(text: str) -> ModelServerConfig:
    return text_format.Parse(text, ModelServerConfig(), descriptor_pool=POOL)


def file(folder: Path, text: str) -> Path:
    path = folder / "models.config"
    path.write_text(text)
    return path


def refusal(error: pytest.ExceptionInfo[SigrunError]) -> tuple[Code, str]:
    return error.value.code, str(error.value)


# What a config says


def test_a_config_lists_models_with_their_base_paths() -> None:
    config = message(
        models(MNIST, 'name: "iris" base_path: "file:///models/iris" model_platform: "tensorflow"')
    )

    assert [(model.name, model.base_path, model.platform) for model in from_reload(config)] == [
        ("mnist", "/models/mnist", "tensorflow"),
        ("iris", "file:///models/iris", "tensorflow"),
    ]


def test_the_deprecated_model_type_stands_for_the_platform() -> None:
    config = message(models('name: "mnist" base_path: "/models/mnist" model_type: TENSORFLOW'))

    (model,) = from_reload(config)

    assert model.platform == "tensorflow"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", LatestVersions(1)),
        ("model_version_policy {}", LatestVersions(1)),
        ("model_version_policy { latest {} }", LatestVersions(1)),
        ("model_version_policy { latest { num_versions: 3 } }", LatestVersions(3)),
        ("model_version_policy { all {} }", AllVersions()),
        (
            "model_version_policy { specific { versions: 7 versions: 1 versions: 7 } }",
            SpecificVersions(frozenset({1, 7})),
        ),
        ("model_version_policy { specific {} }", SpecificVersions(frozenset())),
    ],
)
def test_a_config_chooses_versions(text: str, policy: VersionPolicy) -> None:
    (model,) = from_reload(message(models(f"{MNIST} {text}")))

    assert model.version_policy.select(range(10)) == policy.select(range(10))
    assert type(model.version_policy) is type(policy)


def test_a_config_names_versions() -> None:
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'

    (model,) = from_reload(message(models(f"{MNIST} {labels}")))

    assert model.version_labels == {"stable": 1, "canary": 2}


@pytest.mark.parametrize("text", ["model_config_list {}", "model_config_list { }"])
def test_a_list_without_models_is_a_set_without_models(text: str, tmp_path: Path) -> None:
    assert from_reload(message(text)) == ModelSet()
    assert from_file(file(tmp_path, text)) == ModelSet()
    assert from_changed_file(file(tmp_path, text)) == ModelSet()


# What is wrong in a list, wherever it comes from


@pytest.mark.parametrize(
    ("text", "refused_with"),
    [
        pytest.param(
            models(MNIST, MNIST),
            "Illegal to list model mnist multiple times in config list",
            id="a model twice",
        ),
        pytest.param(
            models('name: "mnist" base_path: "models/mnist" model_platform: "tensorflow"'),
            "Expected model mnist to have an absolute path or URI; got base_path()=models/mnist",
            id="a relative path",
        ),
        pytest.param(
            models('name: "mnist" model_platform: "tensorflow"'),
            "Expected model mnist to have an absolute path or URI; got base_path()=",
            id="no path",
        ),
        pytest.param(
            models('name: "mnist" base_path: "/models/mnist"'),
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is mnist",
            id="no platform",
        ),
        pytest.param(
            models(f"{MNIST} model_type: TENSORFLOW"),
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is mnist",
            id="type and platform",
        ),
        pytest.param(
            models('name: "mnist" base_path: "/models/mnist" model_type: OTHER'),
            "ModelServerConfig::model_type choice 2 not supported.",
            id="another type",
        ),
        pytest.param(
            models('name: "mnist" base_path: "/models/mnist" model_platform: "caffe"'),
            "Model mnist requests unsupported platform caffe",
            id="another platform",
        ),
        pytest.param(
            models(f"{MNIST} logging_config {{}}"),
            "logging_config of model mnist: log_collector_config.filename_prefix is '', and should "
            "be an absolute path and the beginning of a file's name, such as "
            "/var/log/sigrun/my_model",
            id="logging",
        ),
    ],
)
def test_a_list_that_is_wrong_is_refused(text: str, refused_with: str, tmp_path: Path) -> None:
    path = file(tmp_path, text)

    with pytest.raises(SigrunError) as by_request:
        from_reload(message(text))
    with pytest.raises(SigrunError) as at_start:
        from_file(path)
    with pytest.raises(SigrunError) as by_change:
        from_changed_file(path)

    assert (
        refusal(by_request)
        == refusal(at_start)
        == refusal(by_change)
        == (Code.INVALID_ARGUMENT, refused_with)
    )


# What is no list


@pytest.mark.parametrize("text", ["", CUSTOM], ids=["empty", "custom"])
def test_a_request_without_a_list_is_refused(text: str) -> None:
    with pytest.raises(SigrunError) as refused:
        from_reload(message(text))

    assert refusal(refused) == (Code.INVALID_ARGUMENT, NO_LIST_IN_REQUEST)


@pytest.mark.parametrize("text", ["", CUSTOM], ids=["empty", "custom"])
def test_a_file_that_no_longer_has_a_list_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SigrunError) as refused:
        from_changed_file(file(tmp_path, text))

    assert refusal(refused) == (Code.FAILED_PRECONDITION, NO_LIST)


def test_a_server_may_start_with_an_empty_file(tmp_path: Path) -> None:
    assert from_file(file(tmp_path, "")) == ModelSet()


def test_a_server_does_not_start_with_a_custom_config(tmp_path: Path) -> None:
    with pytest.raises(SigrunError) as refused:
        from_file(file(tmp_path, CUSTOM))

    assert refusal(refused) == (
        Code.INVALID_ARGUMENT,
        "ModelServer does not yet support custom model config.",
    )


# What is no config


@pytest.mark.parametrize("read", [from_file, from_changed_file])
def test_a_file_that_is_not_there_is_not_found(
    read: Callable[[Path], ModelSet], tmp_path: Path
) -> None:
    with pytest.raises(SigrunError) as refused:
        read(tmp_path / "missing")

    assert refusal(refused) == (
        Code.NOT_FOUND,
        f"{tmp_path}/missing; No such file or directory",
    )


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(SigrunError) as refused:
        from_file(path)

    assert refused.value.code is Code.INVALID_ARGUMENT
    assert str(refused.value).startswith(f"Invalid protobuf file: '{path}': 'utf-8' codec")


@pytest.mark.parametrize(
    ("text", "place", "mistake"),
    [
        pytest.param(
            "model_config_list {\n  config { name: mnist }\n}",
            "2:18",
            "string",
            id="no quotes",
        ),
        pytest.param(
            'model_config_list {\n  config { nam: "mnist" }\n}',
            "2:12",
            '"tensorflow.serving.ModelConfig" has no field named "nam"',
            id="an unknown field",
        ),
        pytest.param(
            "model_config_list {\n  config {\n", "2:10", 'Expected "}"', id="no closing brace"
        ),
        pytest.param(
            'model_config_list { config { name: "a" name: "b" } }',
            "1:46",
            'should not have multiple "name" fields',
            id="a field twice",
        ),
        pytest.param(
            "model_config_list { config { model_type: MINE } }",
            "1:42",
            "has no value named MINE",
            id="an unknown enum value",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(
    text: str, place: str, mistake: str, tmp_path: Path
) -> None:
    path = file(tmp_path, text)

    with pytest.raises(SigrunError) as refused:
        from_file(path)

    assert refused.value.code is Code.INVALID_ARGUMENT
    first, second = str(refused.value).splitlines()
    assert first == f"Invalid protobuf file: '{path}'"
    assert second.startswith(
        f"Error parsing text-format tensorflow.serving.ModelServerConfig: {place}"
    )
    assert mistake in second


def test_what_is_logged_is_read(tmp_path: Path) -> None:
    text = models(
        f"""{MNIST} logging_config {{
          log_collector_config {{ type: "jsonl" filename_prefix: "/log/mnist" }}
          sampling_config {{ sampling_rate: 0.25 attributes: 1 }}
        }}"""
    )

    (model,) = from_file(file(tmp_path, text))

    assert model.logging == RequestLogging(
        filename_prefix="/log/mnist",
        sampling_rate=0.25,
        kind=LogKind.JSON_LINES,
        logs_origin=True,
    )


@pytest.mark.parametrize(
    ("logging", "text"),
    [
        ('log_collector_config { type: "kafka" }', "type is 'kafka', and can be tfrecord, jsonl"),
        ("sampling_config { per_task_sampling_configs {} }", "per_task_sampling_configs name"),
        ("custom_logging_config {}", "custom_logging_config is for servers"),
        (
            'log_collector_config { filename_prefix: "/l" } sampling_config { sampling_rate: 2 }',
            "sampling_rate is 2, and should be a share",
        ),
    ],
)
def test_logging_that_cannot_be_done_is_refused(logging: str, text: str, tmp_path: Path) -> None:
    path = file(tmp_path, models(f"{MNIST} logging_config {{ {logging} }}"))

    with pytest.raises(InvalidArgument, match=text):
        from_file(path)
