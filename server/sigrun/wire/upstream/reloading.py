"""Which files a gateway follows to make itself known to the servers: certificates and a token."""

from __future__ import annotations

import functools
from typing import Any

from sigrun.concurrency.follow import Followed
from sigrun.config.gateway import UpstreamOptions, UpstreamTls
from sigrun.wire.config_files import upstream
from sigrun.wire.upstream.channels import Upstream


def followed_upstream(servers: Upstream, options: UpstreamOptions) -> list[Followed[Any]]:
    """Return what keeps current how `servers` are asked; empty if nothing comes from a file."""
    followed: list[Followed[Any]] = []
    if options.tls_files is not None:
        tls = options.tls or UpstreamTls()
        read_tls = functools.partial(upstream.tls, options.tls_files, tls.server_name)
        what = "certificates for the servers upstream"
        followed.append(Followed(what, read=read_tls, apply=servers.use_tls, applied=tls))
    if options.token_file is not None:

        async def apply(token: str) -> None:
            servers.use_token(token)

        read_token = functools.partial(upstream.token, options.token_file)
        what = f"token in {options.token_file}"
        followed.append(Followed(what, read=read_token, apply=apply, applied=options.token))
    return followed
