"""In an empty environment `pip install` of the client, and its README's lines, work."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sigrun.config.models import ModelSet
from sigrun.tensors.signature import Array, DType
from tests.fakes.servables import FakeServable, signature
from tests.wire.rig import HOST, Rig

CLIENT = Path(__file__).resolve().parents[3] / "clients" / "python"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SPAM = signature({"text": DType.STRING}, {"label": DType.STRING, "spam_probability": DType.FLOAT})


def guess(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Call spam what has the word money in it."""
    is_spam = np.array([b"money" in text for text in inputs["text"]])
    return {
        "label": np.where(is_spam, b"spam", b"ham").astype(object),
        "spam_probability": is_spam.astype(np.float32),
    }


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has the client and what it needs."""
    folder = tmp_path_factory.mktemp("installation")
    script = CLIENT / "benchmarks" / "installation.py"
    result = subprocess.run(
        [sys.executable, str(script), str(folder)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return folder / "environment" / "bin" / "python"


def test_tensorflow_is_not_installed(environment: Path) -> None:
    listed = subprocess.run(
        [environment, "-m", "pip", "list"], capture_output=True, text=True, check=True
    ).stdout

    assert "sigrun-client" in listed
    assert "tensorflow" not in listed.lower()


@pytest.mark.asyncio
async def test_the_lines_of_the_readme_work(environment: Path, rig: Rig) -> None:
    rig.servables["email_model:2"] = FakeServable([SPAM], guess)
    rig.add_version(2, name="email_model")
    model = rig.model("email_model", version_labels={"beta": 2})
    await rig.build(models=ModelSet((model,))).start()
    (lines,) = re.findall(
        r"```python\n(from sigrun_client import Client\n.*?)```",
        (CLIENT / "README.md").read_text(),
        re.DOTALL,
    )
    here = lines.replace("localhost:8500", f"{HOST}:{rig.server.grpc.port}")
    assert here != lines

    process = await asyncio.create_subprocess_exec(
        *(environment, "-c", here),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    assert out.decode().splitlines() == ["ham 0.000", "spam 1.000", "answered by version 2"]


def test_there_are_ten_lines() -> None:
    text = (CLIENT / "README.md").read_text()
    lines = text.partition("```python\n")[2].partition("```")[0]

    assert len([line for line in lines.splitlines() if line]) <= 10


def test_the_command_line_is_installed(environment: Path) -> None:
    result = subprocess.run(
        [environment.with_name("sigrun-client"), "wait", "m", "-s", f"{HOST}:1", "-t", "0.1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "did not become available" in result.stderr
