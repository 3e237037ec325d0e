"""The files by which a gateway makes itself known to the servers -> their contents, checked."""

from __future__ import annotations

from pathlib import Path

from sigrun.config.gateway import UpstreamTls, UpstreamTlsFiles
from sigrun.errors import InvalidArgument, NotFound
from sigrun.wire.config_files.bounded import read_bounded

_MAX_BYTES = 8 * 1024 * 1024


def tls(files: UpstreamTlsFiles, server_name: str = "") -> UpstreamTls:
    """Read certificates. Raises `NotFound` or `InvalidArgument`."""
    return UpstreamTls(
        ca=_contents("upstream_ca_file", files.ca),
        client_cert=_contents("upstream_client_cert_file", files.client_cert),
        client_key=_contents("upstream_client_key_file", files.client_key),
        server_name=server_name,
    )


def token(path: Path) -> str:
    """Read a token. Raises `NotFound` or `InvalidArgument`."""
    content = _contents("upstream_token_file", path)
    text = content.decode("ascii", errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable():
        raise InvalidArgument(
            f"--upstream_token_file: {path} does not hold a token, which is a line of ASCII"
        )
    return text


def _contents(flag: str, path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        content = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        raise NotFound(f"--{flag}: cannot read {path}: {error.strerror}") from None
    if not content:  # else one that is being written would mean the authorities that gRPC knows
        raise InvalidArgument(f"--{flag}: {path} is empty")
    return content
