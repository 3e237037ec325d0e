from __future__ import annotations

from pathlib import Path

import pytest

from sigrun._gen.tensorflow.core.protobuf.config_pb2 import ConfigProto
from sigrun._gen.tensorflow_serving.servables.tensorflow.saved_model_config_pb2 import (
    SavedModelConfig,
)
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import InvalidArgument
from sigrun.wire.config_files.saved_model_config import options_of_version

OPTIONS = ExecutionOptions(intra_op_threads=3)


def write(folder: Path, content: bytes) -> None:
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "saved_model_config.pb").write_bytes(content)


def test_a_version_without_settings_of_its_own_has_the_servers(tmp_path: Path) -> None:
    assert options_of_version(tmp_path, OPTIONS) is OPTIONS


def test_a_version_may_ask_to_have_its_graph_left_as_it_is(tmp_path: Path) -> None:
    config = SavedModelConfig()
    config.session_overrides.disable_meta_optimizer = True
    write(tmp_path, config.SerializeToString())

    options = options_of_version(tmp_path, OPTIONS)

    session = ConfigProto.FromString(options.session_config)
    assert session.graph_options.rewrite_options.disable_meta_optimizer
    assert session.allow_soft_placement
    assert (options.optimize_on_load, options.intra_op_threads) == (False, 3)


def test_overrides_without_effect_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SavedModelConfig()
    config.session_overrides.remote_op_remap_config.propagate_version = True
    write(tmp_path, config.SerializeToString())
    caplog.set_level("INFO")

    assert options_of_version(tmp_path, OPTIONS) == OPTIONS
    assert "remote_op_remap_config" in caplog.text


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path, b"\xff")

    with pytest.raises(InvalidArgument, match=r"saved_model_config\.pb is no serialized"):
        options_of_version(tmp_path, OPTIONS)
