"""The real server as a process of its own, on free ports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import SavedModel
from tests.e2e.process import RunningServer, running_server

Serve = Callable[..., RunningServer]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and give it the time that a process with TensorFlow takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def shared_base_paths(
    saved_model: SavedModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return base paths with one version each, by the kind of model in it."""
    folder = tmp_path_factory.mktemp("models")
    base_paths = {}
    for kind in ("half_plus_two", "multi_head", "module", "slow", "run_time_errors"):
        base_path = folder / kind
        base_path.mkdir()
        (base_path / "1").symlink_to(saved_model(kind))
        base_paths[kind] = base_path
    return base_paths


@pytest.fixture(scope="session")
def model_server(
    shared_base_paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Return a server of several models, for tests that only ask."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(model_config(shared_base_paths))
    with running_server(f"--model_config_file={config}") as server:
        yield server


def model_config(base_paths: Mapping[str, Path | str]) -> str:
    """Return a ModelServerConfig in text form."""
    models = "".join(
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
        for name, path in base_paths.items()
    )
    return f"model_config_list {{\n{models}}}\n"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a way to start a server with flags; it is stopped when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda *flags, **settings: stack.enter_context(running_server(*flags, **settings))
