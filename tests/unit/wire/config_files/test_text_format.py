from __future__ import annotations

from pathlib import Path

import pytest

from sigrun._gen.tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig
from sigrun.errors import InvalidArgument
from sigrun.wire.config_files.text_format import read_message


def test_a_file_that_never_ends_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="/dev/zero is larger than 67108864 bytes"):
        read_message(Path("/dev/zero"), ModelServerConfig)
