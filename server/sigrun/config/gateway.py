"""Where a gateway listens, and which servers it stands in front of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from sigrun.config.access import Tokens
from sigrun.config.server import HttpOptions
from sigrun.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """How servers are known, and how this client makes itself known to them; PEM contents.

    Without `ca` gRPC's own certificates are trusted. `server_name` stands in the servers'
    certificates, if it is not the name they are called by.

    Raises `InvalidArgument` for a certificate without its key, or the reverse.
    """

    ca: bytes = b""
    client_cert: bytes = b""
    client_key: bytes = b""
    server_name: str = ""

    def __post_init__(self) -> None:
        if bool(self.client_cert) != bool(self.client_key):
            raise InvalidArgument("A client certificate and its key come together")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTlsFiles:
    """Where the contents of an `UpstreamTls` come from; PEM files."""

    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """The servers, all of which serve the same models; `host:port` or any gRPC target.

    The files are where certificates and token have been read, and are followed. Raises
    `InvalidArgument` if there are no servers.
    """

    addresses: tuple[str, ...]
    tls: UpstreamTls | None = None
    tls_files: UpstreamTlsFiles | None = None
    token: str = field(default="", repr=False)  # sent to the servers with every call
    token_file: Path | None = None
    channel_arguments: Mapping[str, str | int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.addresses:
            raise InvalidArgument("A gateway needs servers: --upstream=host:port[,host:port...]")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Everything a gateway is built from."""

    upstream: UpstreamOptions
    http: HttpOptions
    auth_tokens_file: Path | None = None  # None: nobody is asked for a token
    tokens: Tokens | None = None  # what that file holds at the start
    max_in_flight_bytes: int = 0  # of bodies and answers; 0: no limit
    max_concurrent_requests: int = 10_000  # 0: no limit
    shutdown_grace_s: float = 30.0
