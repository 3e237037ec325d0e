"""The contracts of `[tool.importlinter]` in pyproject.toml hold."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.application import use_cases
from importlinter.configuration import configure

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def contracts() -> Iterator[tuple[str, str]]:
    """Yield id and name of every contract."""
    settings = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]
    for contract in settings["contracts"]:
        yield contract["id"], contract["name"]


@pytest.mark.parametrize("contract", [pytest.param(id, id=name) for id, name in contracts()])
def test_the_contract_holds(contract: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure()

    holds = use_cases.lint_imports(
        config_filename=str(PYPROJECT), limit_to_contracts=(contract,), cache_dir=None
    )

    assert holds, capsys.readouterr().out
