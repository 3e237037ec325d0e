"""A model with operations of another package: its own server process, as they stay registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SavedModel
from tests.e2e.conftest import model_config
from tests.e2e.process import running_server

BUILD = """
import sys
import tensorflow as tf
import tensorflow_text

class Splitter(tf.Module):
    def __init__(self):
        self.tokenizer = tensorflow_text.WhitespaceTokenizer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def split(self, text):
        return {"tokens": self.tokenizer.tokenize(text).to_tensor(b"")}

module = Splitter()
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.split})
"""


def test_operations_come_from_a_package_that_is_named(
    tmp_path: Path, saved_model: SavedModel
) -> None:
    if not list(Path(sys.prefix).glob("**/site-packages/tensorflow_text")):
        pytest.skip("tensorflow-text is not installed")
    text, plain = tmp_path / "text", tmp_path / "plain"
    text.mkdir()
    plain.mkdir()
    (plain / "1").symlink_to(saved_model("half_plus_two"))
    subprocess.run([sys.executable, "-c", BUILD, str(text / "1")], check=True, capture_output=True)
    config = tmp_path / "models.config"
    config.write_text(model_config({"text": text, "plain": plain}))
    flag = f"--model_config_file={config}"

    with running_server(flag, "--op_libraries=tensorflow_text") as server:
        status, answer = server.post(
            "/v1/models/text:predict", {"inputs": ["two words", "and three words"]}
        )

        assert (status, answer) == (
            200,
            {"outputs": [["two", "words", ""], ["and", "three", "words"]]},
        )

    # Without it, on reload: at start a server refuses to go without one of its models.
    config.write_text(model_config({"plain": plain}))
    with running_server(flag, "--model_config_file_poll_wait_seconds=1") as server:
        config.write_text(model_config({"text": text, "plain": plain}))
        server.wait_for(lambda: "op_libraries" in server.log_text(), "the refusal")

        assert server.post("/v1/models/plain:predict", {"instances": [1.0]})[0] == 200
        assert "--op_libraries=tensorflow_text" in server.log_text()
        assert "TFText>WhitespaceTokenize" in server.log_text()
