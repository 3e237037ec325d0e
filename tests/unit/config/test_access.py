"""Tokens: what makes one, and which one a secret is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sigrun.config.access import MAX_TOKENS, Right, Token, Tokens, make_secret, rights, sha256
from sigrun.errors import InvalidArgument

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def token(name: str = "web", secret: str = "secret", **settings: object) -> Token:
    known = {"rights": frozenset({Right.INFERENCE}), **settings}
    return Token(name=name, sha256=sha256(secret).hex(), **known)  # type: ignore[arg-type]


def test_a_secret_finds_its_token_and_no_other() -> None:
    web, batch = token("web", "one"), token("batch", "two")
    tokens = Tokens([web, batch])

    assert tokens.find("one") is web
    assert tokens.find("two") is batch
    assert tokens.find("three") is None
    assert tokens.find("") is None


def test_hashes_that_begin_alike_are_told_apart() -> None:
    digest = sha256("one")
    alike = Token(
        name="alike", sha256=(digest[:31] + b"\0").hex(), rights=frozenset({Right.METRICS})
    )
    one = token("web", "one")

    assert Tokens([alike, one]).find("one") is one
    assert Tokens([alike]).find("one") is None


def test_a_token_ends_at_its_time() -> None:
    ending = token(expires=NOON)

    assert not ending.has_expired(NOON - timedelta(microseconds=1))
    assert ending.has_expired(NOON)
    assert not token().has_expired(NOON)


def test_a_secret_is_long_and_new_each_time() -> None:
    first, second = make_secret(), make_secret()

    assert first != second
    assert first.startswith("sigrun_")
    assert len(first) == len("sigrun_") + 43  # 256 bits in base64


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"name": ""}, "A token has a name, a line of text that logs call it by; given: ''"),
        ({"name": "a\nb"}, "A token has a name, a line of text"),
        ({"sha256": "abc"}, "Token web needs its sha256 as 64 lower-case hexadecimal digits; it"),
        (
            {"rights": frozenset()},
            "Token web has no rights; there are inference, administration, metrics",
        ),
        ({"expires": datetime(2026, 1, 1)}, "Token web expires at 2026-01-01 00:00:00, which"),
    ],
    ids=["no name", "two lines", "no hash", "no rights", "no time zone"],
)
def test_what_is_wrong_with_a_token_is_told(settings: dict[str, object], text: str) -> None:
    known = {"name": "web", "sha256": "a" * 64, "rights": frozenset({Right.INFERENCE})}

    with pytest.raises(InvalidArgument) as told:
        Token(**(known | settings))  # type: ignore[arg-type]

    assert str(told.value).startswith(text)


def test_a_name_or_a_hash_stands_for_one_token() -> None:
    with pytest.raises(InvalidArgument, match=r"^2 tokens have the same name: web$"):
        Tokens([token("web", "one"), token("web", "two")])
    with pytest.raises(InvalidArgument, match=r"^2 tokens have the same sha256: [0-9a-f]{64}$"):
        Tokens([token("web"), token("batch")])


def test_there_is_a_limit_on_their_number() -> None:
    with pytest.raises(InvalidArgument, match=rf"{MAX_TOKENS + 1} tokens are listed"):
        Tokens([token()] * (MAX_TOKENS + 1))


def test_a_right_that_there_is_not_is_named() -> None:
    with pytest.raises(
        InvalidArgument, match="no right 'root'; there are inference, administration, metrics"
    ):
        rights(["inference", "root"])
