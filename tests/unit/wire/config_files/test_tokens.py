"""The file of tokens: what it says, and what is said of mistakes in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sigrun.config.access import Right
from sigrun.errors import InvalidArgument, NotFound
from sigrun.wire.config_files import tokens

SHA256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of `secret`


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def test_a_token_is_read(path: Path) -> None:
    path.write_text(
        f"""\
        [[token]]
        name = "web"
        sha256 = "{SHA256.upper()}"
        rights = ["inference", "metrics"]
        expires = 2027-01-01T00:00:00Z
        """
    )

    found = tokens.from_file(path).find("secret")

    assert found is not None
    assert found.name == "web"
    assert found.rights == {Right.INFERENCE, Right.METRICS}
    assert found.expires == datetime(2027, 1, 1, tzinfo=UTC)


def test_an_empty_file_has_no_tokens(path: Path) -> None:
    path.write_text("")

    assert len(tokens.from_file(path)) == 0


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(NotFound, match=r"tokens\.toml; No such file or directory$"):
        tokens.from_file(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[token", "Expected"),
        ("[[tokens]]", "The file has 'tokens'; known: token"),
        ("token = 1", "Tokens are listed as [[token]]"),
        ("[[token]]", "Token 1 needs name, a str; given: nothing"),
        ("[[token]]\nname = 'web'\nsecret = 'x'", "Token 1 has 'secret'; known: expires, name,"),
        ("[[token]]\nname = 'web'\nsha256 = 1", "Token web needs sha256, a str; given: a int"),
        (
            f"[[token]]\nname = 'web'\nsha256 = '{SHA256}'\nrights = 'inference'",
            "Token web needs rights, a list; given: a str",
        ),
        (
            f"[[token]]\nname = 'web'\nsha256 = '{SHA256}'\nrights = ['root']",
            "There is no right 'root'; there are inference, administration, metrics",
        ),
        (
            f"[[token]]\nname = 'web'\nsha256 = '{SHA256}'\nrights = [1]",
            "Token web has rights that are no text",
        ),
        (
            f"[[token]]\nname = 'web'\nsha256 = '{SHA256}'\nrights = []\nexpires = 2027-01-01",
            "Token web needs expires, a datetime; given: a date",
        ),
    ],
)
def test_a_mistake_is_told_with_the_file(path: Path, text: str, told: str) -> None:
    path.write_text(text)

    with pytest.raises(InvalidArgument) as error:
        tokens.from_file(path)

    assert str(error.value).startswith(f"Invalid file of tokens: '{path}': {told}")
