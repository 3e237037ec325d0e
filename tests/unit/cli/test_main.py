from __future__ import annotations

import importlib

import pytest

from sigrun.cli.main import main, tensorflow_model_server


def test_two_models_on_the_command_line_are_refused_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("sigrun.cli.main")
    monkeypatch.setattr(module, "configure_logs", lambda *_: None)

    status = main(["serve", "/models/mnist", "/models/iris"])

    assert status == 2
    assert capsys.readouterr().err.startswith(
        "one model can be named here, not 2 (/models/mnist, /models/iris); "
        "list several in a file and serve that: --model_config_file=FILE\n"
    )


@pytest.mark.parametrize(
    ("words", "script"), [(["serve"], "sigrun serve "), (["gateway"], "sigrun gateway ")]
)
def test_help_has_three_examples(
    words: list[str], script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out.count(f"\n  {script}") == 3


def test_the_help_of_the_compatible_command_has_three_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tensorflow_model_server(["--help"]) == 0
    assert capsys.readouterr().out.count("\n  tensorflow_model_server ") == 3
