"""`sigrun token`: what it prints is what the file of tokens takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sigrun.cli.main import main
from sigrun.config.access import Right
from sigrun.wire.config_files import tokens


def made(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return the secret and the entry that are printed."""
    assert main(["token", *words]) == 0
    comment, secret, _, comment_of_entry, *entry = capsys.readouterr().out.splitlines()
    assert comment.startswith("# the token, for ")
    assert comment_of_entry == "# its entry"
    return secret, "\n".join(entry)


def test_the_entry_is_of_the_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.toml"
    web, web_entry = made(["web"], capsys)
    odd, odd_entry = made(['say "hi" \\ ü', "--rights=administration,metrics"], capsys)
    file.write_text(f"{web_entry}\n\n{odd_entry}\n")

    known = tokens.from_file(file)

    first, second = known.find(web), known.find(odd)
    assert first is not None
    assert (first.name, first.rights, first.expires) == ("web", frozenset({Right.INFERENCE}), None)
    assert second is not None
    assert second.name == 'say "hi" \\ ü'
    assert second.rights == {Right.ADMINISTRATION, Right.METRICS}
    assert web not in web_entry


def test_a_token_may_expire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.toml"
    before = datetime.now(UTC)
    secret, entry = made(["web", "--expires_in_days=0.5"], capsys)
    file.write_text(entry)

    found = tokens.from_file(file).find(secret)

    assert found is not None
    assert found.expires is not None
    assert found.expires >= before + timedelta(days=0.5) - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["web", "--rights=root"], "There is no right 'root'; there are inference,"),
        (["a\nb"], "A token has a name, a line of text"),
        (["web", "--expires_in_days=1e12"], "--expires_in_days=1e+12 is beyond every calendar"),
        (["web", "--expires_in_days=nan"], "--expires_in_days=nan is beyond every calendar"),
    ],
)
def test_a_mistake_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", *words]) == 2
    assert capsys.readouterr().err.startswith(f"sigrun token: {told}")
