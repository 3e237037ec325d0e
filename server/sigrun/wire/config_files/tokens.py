"""The file of tokens, which is TOML -> `Tokens`.

[[token]]
name = "web"
sha256 = "..."  # of the token, 64 hexadecimal digits
rights = ["inference"]
expires = 2027-01-01T00:00:00Z  # may be left out
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sigrun.config.access import Right, Token, Tokens, rights
from sigrun.errors import InvalidArgument, NotFound
from sigrun.wire.config_files.bounded import read_bounded

_MAX_BYTES = 8 * 1024 * 1024
_FIELDS = {"name", "sha256", "rights", "expires"}


def from_file(path: Path) -> Tokens:
    """Read the tokens that are taken; an empty file is none, so that nobody may ask.

    Raises `NotFound` if it cannot be opened, `InvalidArgument` for what is wrong in it.
    """
    try:
        content = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        raise NotFound(f"{path}; {error.strerror}") from None
    try:
        document = tomllib.loads(content.decode())
        return Tokens(_tokens(document))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, InvalidArgument) as error:
        raise InvalidArgument(f"Invalid file of tokens: '{path}': {error}") from None


def _tokens(document: Mapping[str, Any]) -> list[Token]:
    _check_names(document, {"token"}, "The file")
    entries = document.get("token", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InvalidArgument("Tokens are listed as [[token]]")
    return [_token(number, entry) for number, entry in enumerate(entries, start=1)]


def _token(number: int, entry: Mapping[str, Any]) -> Token:
    what = f"Token {number}"
    _check_names(entry, _FIELDS, what)
    name = _of_type(entry, "name", str, what)
    what = f"Token {name}"
    expires = _of_type(entry, "expires", datetime, what) if "expires" in entry else None
    return Token(
        name=name,
        sha256=_of_type(entry, "sha256", str, what).lower(),
        rights=_rights(entry, what),
        expires=expires,
    )


def _rights(entry: Mapping[str, Any], what: str) -> frozenset[Right]:
    listed = _of_type(entry, "rights", list, what)
    if not all(isinstance(right, str) for right in listed):
        raise InvalidArgument(f"{what} has rights that are no text")
    return rights(listed)


def _check_names(table: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise InvalidArgument(f"{what} has {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _of_type(entry: Mapping[str, Any], name: str, kind: type, what: str) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind):
        given = "nothing" if value is None else f"a {type(value).__name__}"
        raise InvalidArgument(f"{what} needs {name}, a {kind.__name__}; given: {given}")
    return value
