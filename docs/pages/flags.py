"""The flags of every command, from `sigrun.cli.flags`."""

from __future__ import annotations

from collections.abc import Iterator

from docs.pages.markdown import joined, table
from sigrun.cli.flags import (
    WITHOUT_EFFECT,
    CommonFlags,
    Flag,
    GatewayFlags,
    ModelServerFlags,
    ServeFlags,
    Value,
    flags_of,
)


def flags_page() -> str:
    """Return the flags of every command."""
    return joined(
        "# Flags",
        "A flag is `--name=value`; a boolean may stand alone (`--enable_batching`). An unknown flag is refused, "
        "with the nearest known one. `sigrun serve --help` prints this list.",
        "## `sigrun serve`, `tensorflow_model_server`",
        "`tensorflow_model_server` takes the same flags and no base path by itself; its `--rest_api_port` is 0, so "
        "that HTTP is off, as in TensorFlow Serving.",
        *flag_groups(ServeFlags, {"rest_api_port"} & differing(ServeFlags, ModelServerFlags)),
        "### Taken without an effect",
        "They are TensorFlow Serving's. The log says that they do nothing, and why.",
        table(
            ("flag", "why"),
            [(f"`--{name}`", why) for name, why in sorted(WITHOUT_EFFECT.items())],
        ),
        "## `sigrun gateway`",
        *flag_groups(GatewayFlags, set()),
    )


def differing(one: type[CommonFlags], other: type[CommonFlags]) -> set[str]:
    """Return the names of the flags whose defaults differ."""
    defaults = {flag.name: flag.default for flag in flags_of(other)}
    return {flag.name for flag in flags_of(one) if defaults.get(flag.name) != flag.default}


def flag_groups(command: type[CommonFlags], marked: set[str]) -> Iterator[str]:
    """Yield a heading and a table for each group of flags."""
    groups: dict[str, list[Flag]] = {}
    for flag in flags_of(command):
        groups.setdefault(flag.group, []).append(flag)
    for group, flags in groups.items():
        yield f"### {group}" + (" of the gateway" if command is GatewayFlags else "")
        rows = [
            (
                f"`--{flag.name}`",
                shown(flag.default) + (" (*)" if flag.name in marked else ""),
                flag.help,
            )
            for flag in flags
        ]
        yield table(("flag", "default", "what it does"), rows)


def shown(value: Value) -> str:
    """Return a default as it is written on a command line."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value != "" else ""
