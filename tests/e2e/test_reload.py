"""Models and labels are replaced at run time, by request and by a changed config file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format

from sigrun._gen import POOL
from sigrun._gen.tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc
from tests.conftest import MakeBasePath, SavedModel
from tests.e2e.process import RunningServer, running_server


def model(name: str, base_path: Path | str, rest: str = "model_version_policy { all {} }") -> str:
    return (
        f'config {{ name: "{name}" base_path: "{base_path}" '
        f'model_platform: "tensorflow" {rest} }}\n'
    )


def label(name: str, version: int) -> str:
    return f'version_labels {{ key: "{name}" value: {version} }} '


def config_list(*models: str) -> str:
    return f"model_config_list {{ {''.join(models)} }}"


def reload(server: RunningServer, text: str) -> Any:
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text, request.config, descriptor_pool=POOL)
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return stub.HandleReloadConfigRequest(request, timeout=60)


def ask(server: RunningServer, target: str) -> tuple[int, Any]:
    return server.post(f"/v1/models/{target}:predict", {"instances": [1.0]})


TWO, THREE = (200, {"predictions": [2.5]}), (200, {"predictions": [3.5]})
ALL = "model_version_policy { all {} } "


@pytest.fixture(scope="module")
def base_path(saved_model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base_path = tmp_path_factory.mktemp("half")
    for number, kind in ((1, "half_plus_two"), (2, "half_plus_three")):
        (base_path / str(number)).symlink_to(saved_model(kind))
    return base_path


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "models.config"


@pytest.fixture(scope="module")
def running(base_path: Path, config_file: Path) -> Iterator[RunningServer]:
    config_file.write_text(first_config(base_path))
    flags = (f"--model_config_file={config_file}", "--model_config_file_poll_wait_seconds=1")
    with running_server(*flags) as server:
        yield server


@pytest.fixture
def server(running: RunningServer, base_path: Path) -> Iterator[RunningServer]:
    """Return a server of both versions with `stable` on 1, and put that back afterwards."""
    yield running
    reload(running, first_config(base_path))


def first_config(base_path: Path) -> str:
    return config_list(model("half", base_path, ALL + label("stable", 1)))


def test_a_reload_swaps_models_and_moves_labels(server: RunningServer, base_path: Path) -> None:
    assert ask(server, "half/labels/stable") == TWO

    response = reload(
        server,
        config_list(
            model("half", base_path, ALL + label("stable", 2) + label("old", 1)),
            model("other", base_path),
        ),
    )

    assert response.status.error_code == 0
    assert ask(server, "half/labels/stable") == THREE
    assert ask(server, "half/labels/old") == TWO
    assert ask(server, "other") == THREE

    reload(server, config_list(model("other", base_path)))

    server.wait_for(lambda: server.states("half") == {1: "END", 2: "END"}, "unloading")
    assert ask(server, "half")[0] == 404


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        pytest.param(
            "", "INVALID_ARGUMENT", "ServerModelConfig type not supported", id="no list of models"
        ),
        pytest.param(
            config_list(model("half", "/tmp"), model("half", "/tmp")),
            "INVALID_ARGUMENT",
            "Illegal to list model half multiple times in config list",
            id="listed twice",
        ),
        pytest.param(
            config_list(model("half", "relative/path")),
            "INVALID_ARGUMENT",
            "Expected model half to have an absolute path or URI; got base_path()=relative/path",
            id="relative path",
        ),
        pytest.param(
            config_list('config { name: "half" base_path: "/tmp" }'),
            "INVALID_ARGUMENT",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is half",
            id="no platform",
        ),
        pytest.param(
            config_list(model("half", "/tmp", "model_type: TENSORFLOW")),
            "INVALID_ARGUMENT",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is half",
            id="platform and type",
        ),
        pytest.param(
            config_list('config { name: "half" base_path: "/tmp" model_type: OTHER }'),
            "INVALID_ARGUMENT",
            "ModelServerConfig::model_type choice 2 not supported.",
            id="unknown type",
        ),
        pytest.param(
            config_list('config { name: "half" base_path: "/tmp" model_platform: "caffe" }'),
            "INVALID_ARGUMENT",
            "Model half requests unsupported platform caffe",
            id="unknown platform",
        ),
        pytest.param(
            config_list(model("half", "/tmp", "logging_config {}")),
            "INVALID_ARGUMENT",
            "logging_config of model half: log_collector_config.filename_prefix is ''",
            id="request log",
        ),
        pytest.param(
            config_list(model("new", "/nowhere/at/all")),
            "INVALID_ARGUMENT",
            "Could not find base path /nowhere/at/all for servable new with error",
            id="missing base path",
        ),
    ],
)
def test_a_bad_config_is_refused_and_the_old_set_goes_on(
    server: RunningServer, text: str, code: str, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        reload(server, text)

    assert caught.value.code().name == code
    assert message in str(caught.value.details())
    assert ask(server, "half") == THREE
    assert ask(server, "half/labels/stable") == TWO


def test_a_label_on_a_version_that_is_not_there_is_refused(
    server: RunningServer, base_path: Path
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        reload(server, config_list(model("half", base_path, ALL + label("stable", 9))))

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == (
        "Request to assign label to version 9 of model half, "
        "which is not currently available for inference"
    )
    assert ask(server, "half/labels/stable") == TWO


def test_a_model_that_fails_to_load_is_refused_with_its_error(
    server: RunningServer, base_path: Path, make_base_path: MakeBasePath
) -> None:
    broken = make_base_path({1: "truncated_graph"})

    with pytest.raises(grpc.RpcError) as caught:
        reload(server, config_list(model("half", base_path), model("broken", broken)))

    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert str(caught.value.details()).startswith(
        "1 model(s) did not become available: {{name: broken version: 1} due to error: "
    )
    assert ask(server, "half/labels/stable") == TWO
    assert server.states("broken") == {1: "END"}


def test_a_changed_config_file_is_followed_and_a_bad_one_changes_nothing(
    server: RunningServer, base_path: Path, config_file: Path
) -> None:
    config_file.write_text("model_config_list { config { name: }")
    server.wait_for(
        lambda: "Failed to read ModelServerConfig file" in server.log_text(), "the mistake logged"
    )
    assert ask(server, "half/labels/stable") == TWO

    config_file.write_text(config_list(model("half", base_path, ALL + label("stable", 2))))
    server.wait_for(lambda: ask(server, "half/labels/stable") == THREE, "the label moving")


def test_sighup_has_a_changed_config_file_read_and_other_signals_do_nothing(
    base_path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "models.config"
    file.write_text(config_list(model("half", base_path)))
    with running_server(f"--model_config_file={file}") as server:
        file.write_text(config_list(model("other", base_path)))
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            server.signal(number)

        server.wait_for(lambda: ask(server, "other")[0] == 200, "the other model")
        server.wait_for(lambda: ask(server, "half")[0] == 404, "the end of the first model")
