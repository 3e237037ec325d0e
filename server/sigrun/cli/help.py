"""The text of `--help`: a command's flags in groups, with the defaults of that command."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sigrun.cli.flags import CommonFlags, Flag, Value, flags_of

_WIDTH = 96
_COLUMN = 42  # where explanations begin


def usage(command: type[CommonFlags]) -> str:
    """Return every flag of a command and what it means, in lines of up to 96 columns."""
    groups: dict[str, list[Flag]] = {}
    for flag in flags_of(command):
        groups.setdefault(flag.group, []).append(flag)
    return "\n\n".join(
        "\n".join([f"{group}:", *(line for flag in flags for line in _lines(flag))])
        for group, flags in groups.items()
    )


def _lines(flag: Flag) -> Iterator[str]:
    """Return the flag and its explanation; one that is too long for its column has its own line."""
    name = f"  --{flag.name}={_shown(flag.default)}"
    text = textwrap.wrap(flag.help, _WIDTH - _COLUMN)
    if len(name) < _COLUMN - 1:
        name = name.ljust(_COLUMN) + text.pop(0)
    yield name
    yield from (" " * _COLUMN + line for line in text)


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)
