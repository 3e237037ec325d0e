"""The contracts of `[tool.importlinter]` in pyproject.toml hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.application import use_cases
from importlinter.configuration import configure

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_every_contract_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure()

    holds = use_cases.lint_imports(config_filename=str(PYPROJECT), cache_dir=None)

    assert holds, capsys.readouterr().out  # names the contract, and the imports that break it
