"""From the words of a command line to a command's flags.

A bool is `--flag`, `--flag=true` or `--flag=false`; every other flag is `--name=value` or
`--name value`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sigrun.cli.flags import WITHOUT_EFFECT, CommonFlags, Flag, Value, flags_of
from sigrun.errors import InvalidArgument

F = TypeVar("F", bound=CommonFlags)

_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Arguments(Generic[F]):
    """A parsed command line: its flags, the names of those that were given, its other words."""

    flags: F
    given: frozenset[str]
    positional: tuple[str, ...]
    ignored: tuple[str, ...]


def parse(arguments: Sequence[str], command: type[F]) -> Arguments[F]:
    """Read a command line on which the flags of `command` may stand.

    Raises `InvalidArgument` for an unknown flag, naming the nearest known one, and for a
    value of the wrong type. The last of several values of a flag counts.
    """
    by_name = {flag.name: flag for flag in flags_of(command)}
    values: dict[str, Any] = {}
    positional: list[str] = []
    ignored: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, _, text = word.removeprefix("--").partition("=")
        if word == "--":
            positional += words
            break
        if not word.startswith("-"):
            positional.append(word)
        elif name in WITHOUT_EFFECT:
            ignored.append(name)
        else:
            flag = _find(by_name, word, name)
            values[name] = _value(flag, text if "=" in word else _following(flag, words))
    return Arguments(command(**values), frozenset(values), tuple(positional), tuple(ignored))


def _find(by_name: Mapping[str, Flag], word: str, name: str) -> Flag:
    flag = by_name.get(name)
    if flag is not None and word.startswith("--"):
        return flag
    nearest = difflib.get_close_matches(name.lstrip("-"), list(by_name), n=1, cutoff=0.5)
    hint = f"; did you mean --{nearest[0]}?" if nearest else ""
    raise InvalidArgument(f"unknown argument: {word}{hint}")


def _following(flag: Flag, words: list[str]) -> str:
    """Return the value of a flag that came without `=`."""
    if isinstance(flag.default, bool):
        return "true"
    if not words or words[0].startswith("--"):
        raise InvalidArgument(f"--{flag.name} needs a value: --{flag.name}=VALUE")
    return words.pop(0)


def _value(flag: Flag, text: str) -> Value:
    kind = type(flag.default)
    if kind is bool:
        if text not in _BOOLS:
            raise InvalidArgument(f"--{flag.name} is true or false, not {text!r}")
        return _BOOLS[text]
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise InvalidArgument(f"--{flag.name} is {what}, not {text!r}") from None
