"""Which files are followed while the doors are open: certificates and tokens."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from sigrun.concurrency.follow import Followed
from sigrun.config.access import Tokens
from sigrun.config.server import TlsOptions
from sigrun.wire.authentication import Authentication
from sigrun.wire.config_files import options, tokens
from sigrun.wire.ports import Port


def followed_certificates(
    door: str, port: Port | None, tls: TlsOptions | None
) -> list[Followed[Any]]:
    """Return what keeps the certificates of a port current; empty if they come from no file."""
    if port is None or tls is None or tls.file is None:
        return []
    read = functools.partial(options.tls_options, tls.file)
    what = f"certificates of {door} in {tls.file}"
    return [Followed(what, read=read, apply=port.use_tls, applied=tls)]


def followed_tokens(
    file: Path | None, authentication: Authentication | None
) -> list[Followed[Any]]:
    """Return what keeps the tokens that are taken current; empty if they come from no file."""
    if file is None or authentication is None:
        return []

    async def apply(changed: Tokens) -> None:
        authentication.use(changed)

    read = functools.partial(tokens.from_file, file)
    what = f"tokens in {file}"
    return [Followed(what, read=read, apply=apply, applied=authentication.tokens)]
