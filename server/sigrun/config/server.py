"""Where the server listens, and how it treats requests."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from sigrun.config.access import Tokens
from sigrun.config.batching import BatchingOptions
from sigrun.config.execution import ExecutionOptions
from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelSet
from sigrun.config.object_store import ObjectStoreOptions
from sigrun.config.request_log import RequestLogLimits
from sigrun.config.warm_up import WarmUpOptions
from sigrun.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """Certificates of a port, PEM contents; `file` is where they come from, and is followed."""

    server_key: bytes = field(repr=False)
    server_cert: bytes
    custom_ca: bytes = b""
    verify_client: bool = False
    file: Path | None = None


class Transport(enum.Enum):
    """Who speaks HTTP/2 on the gRPC port."""

    OWN = "own"
    GRPCIO = "grpcio"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """The gRPC side. Port None: no TCP; port 0: any free one.

    Raises `InvalidArgument` if there is nowhere to listen.
    """

    host: str = "0.0.0.0"  # noqa: S104  # as TensorFlow Serving: reachable from outside
    port: int | None = 8500
    socket_path: str = ""
    transport: Transport = Transport.OWN
    channel_arguments: Mapping[str, str | int] = field(default_factory=lambda: MappingProxyType({}))
    tls: TlsOptions | None = None
    alts: bool = False  # Google's transport security in place of TLS; grpcio's server speaks it
    enable_profiler: bool = True
    enable_health: bool = True
    outputs_as_tensor_content: bool = False

    def __post_init__(self) -> None:
        if self.port is None and not self.socket_path:
            raise InvalidArgument(
                "At least one of server_options.grpc_port or "
                "server_options.grpc_socket_path must be set."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """The HTTP side. Port None: off; port 0: any free one.

    `timeout_s` bounds each inference, None leaves it to the model. The head of a request
    may take `head_timeout_s` to come, its body `body_timeout_s`, and longer as long as it
    comes at a decent rate.
    """

    host: str = "::"  # as TensorFlow Serving: reachable from outside, and by IPv4 too
    port: int | None = None
    tls: TlsOptions | None = None
    timeout_s: float | None = 30.0
    head_timeout_s: float = 20.0
    body_timeout_s: float = 30.0
    max_body_bytes: int = 2**31 - 1  # gRPC's own bound on a message: both doors take the same
    max_inflated_bytes: int = 100 * 1024 * 1024  # of what comes in gzip
    enable_cors: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminOptions:
    """Where administration is, apart from the other ports: a TCP address, or else a path.

    Port 0: any free one. The path is a UNIX socket that its owner alone can connect to.
    """

    host: str = ""
    port: int = 0
    socket_path: str = ""
    tls: TlsOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything a server is built from.

    Raises `InvalidArgument` if two ports are the same, administration has an address and is off,
    a share is not from 0 to 1, or for workers that cannot be.
    """

    models: ModelSet
    config_file: Path | None = None
    config_file_poll_wait_s: float = 0.0
    grpc: GrpcOptions = field(default_factory=GrpcOptions)
    http: HttpOptions = field(default_factory=HttpOptions)
    lifecycle: LifecycleOptions = field(default_factory=LifecycleOptions)
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    batching: BatchingOptions | None = None  # None: requests run one by one
    has_batching_per_model: bool = False  # sizes and times are then in the version directories
    object_store: ObjectStoreOptions = field(default_factory=ObjectStoreOptions)
    warm_up: WarmUpOptions = field(default_factory=WarmUpOptions)
    check_method_names: bool = False
    enable_admin: bool = True  # callers may say what is served
    admin: AdminOptions | None = None  # None: they may do so on every port
    auth_tokens_file: Path | None = None  # None: nobody is asked for a token
    tokens: Tokens | None = None  # what that file holds at the start
    metrics_path: str = ""  # another one beside /metrics, below no other path that is served
    access_log: bool = False
    access_log_sampling_rate: float = 1.0  # of what succeeds; what fails is always logged
    request_log: RequestLogLimits = field(default_factory=RequestLogLimits)
    max_in_flight_bytes: int = 0  # of bodies and answers; 0: no limit
    max_concurrent_requests: int = 10_000  # 0: no limit
    shutdown_grace_s: float = 30.0
    workers: int = 1  # processes that serve; 1: this one

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InvalidArgument(f"workers must be 1 or more; got {self.workers}")
        if self.workers > 1 and (self.grpc.transport is not Transport.OWN or self.grpc.alts):
            raise InvalidArgument(
                f"--workers={self.workers} needs --grpc_transport={Transport.OWN.value} and no "
                "ALTS: grpcio takes no connections that another process has accepted"
            )
        if self.http.port and self.http.port == self.grpc.port:
            raise InvalidArgument(f"gRPC and HTTP cannot both have port {self.grpc.port}")
        if not 0 <= self.access_log_sampling_rate <= 1:
            raise InvalidArgument(
                "--access_log_sampling_rate is a share from 0 to 1, not "
                f"{self.access_log_sampling_rate:g}"
            )
        if self.admin is None:
            return
        if not self.enable_admin:
            raise InvalidArgument(
                "--admin_address says where administration is, and --enable_admin=false that it is "
                "off: give one of them"
            )
        if self.admin.port and self.admin.port in (self.grpc.port, self.http.port):
            raise InvalidArgument(f"--admin_address needs a port of its own, not {self.admin.port}")
