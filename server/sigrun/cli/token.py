"""`sigrun token`: make a token, for a caller, and its entry, for the file of tokens."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sigrun.config.access import Right, Token, make_secret, now, rights, sha256
from sigrun.errors import InvalidArgument

_DESCRIPTION = """\
Make a token. It is printed once and kept nowhere: give it to the caller, who sends it as
`authorization: Bearer TOKEN` or as `x-api-key: TOKEN`. Put the entry below it into the file of
--auth_tokens_file, which knows the token by its hash alone and is read again when it changes. To
revoke a token, remove its entry.
"""
_EXAMPLES = """\
examples:
  sigrun token web
  sigrun token deploy --rights=administration,metrics --expires_in_days=90
"""


def make_token(words: Sequence[str]) -> str:
    """Return what `sigrun token` prints. Raises `InvalidArgument`; exits on a wrong usage."""
    parser = argparse.ArgumentParser(
        prog="sigrun token",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="who it is for, as logs will call it")
    parser.add_argument(
        "--rights",
        default=Right.INFERENCE.value,
        metavar="RIGHT,...",
        help=f"some of {', '.join(right.value for right in Right)}; default: %(default)s",
    )
    parser.add_argument(
        "--expires_in_days", type=float, metavar="DAYS", help="default: it does not expire"
    )
    arguments = parser.parse_args(words)
    secret = make_secret()
    token = Token(
        name=arguments.name,
        sha256=sha256(secret).hex(),
        rights=rights(arguments.rights.split(",")),
        expires=_expires(arguments.expires_in_days),
    )
    return f"# the token, for {token.name}\n{secret}\n\n# its entry\n{entry(token)}"


def entry(token: Token) -> str:
    """Return a token as it stands in the file of tokens."""
    listed = ", ".join(f'"{right.value}"' for right in sorted(token.rights))
    lines = [
        "[[token]]",
        f"name = {json.dumps(token.name)}",  # TOML's basic strings are written as JSON's
        f'sha256 = "{token.sha256}"',
        f"rights = [{listed}]",
    ]
    if token.expires is not None:
        lines.append(f"expires = {token.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return "\n".join(lines) + "\n"


def _expires(days: float | None) -> datetime | None:
    if days is None:
        return None
    try:
        return now() + timedelta(days=days)
    except (OverflowError, ValueError):
        raise InvalidArgument(f"--expires_in_days={days:g} is beyond every calendar") from None
