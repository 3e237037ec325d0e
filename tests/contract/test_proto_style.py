"""The .proto files keep buf's rules, but for those that the compatible names break."""

from __future__ import annotations

from tests.contract.processes import run_buf


def test_proto_files_keep_the_lint_rules() -> None:
    result = run_buf("lint")

    assert result.returncode == 0, result.stdout


def test_proto_files_are_formatted() -> None:
    result = run_buf("format", "--diff", "--exit-code")

    assert result.returncode == 0, result.stdout
