"""The other text-format files that a server is configured with -> values."""

from __future__ import annotations

from pathlib import Path

from sigrun._gen.tensorflow.core.protobuf.config_pb2 import ConfigProto
from sigrun._gen.tensorflow_serving.config.monitoring_config_pb2 import MonitoringConfig
from sigrun._gen.tensorflow_serving.config.ssl_config_pb2 import SSLConfig
from sigrun.config.server import TlsOptions
from sigrun.errors import InvalidArgument
from sigrun.wire.config_files.text_format import read_message

_METRICS_PATH = "/monitoring/prometheus/metrics"


def tls_options(path: Path) -> TlsOptions:
    """Read an SSLConfig. Raises `NotFound` or `InvalidArgument`."""
    config = read_message(path, SSLConfig)
    return TlsOptions(
        server_key=config.server_key.encode(),
        server_cert=config.server_cert.encode(),
        custom_ca=config.custom_ca.encode(),
        verify_client=config.client_verify,
        file=path,
    )


def metrics_path(path: Path) -> str:
    """Read a MonitoringConfig and return where metrics are to be shown; empty: nowhere else.

    Raises `NotFound`, or `InvalidArgument` also for what is not the path of a URL.
    """
    config = read_message(path, MonitoringConfig).prometheus_config
    if not config.enable:
        return ""
    wanted = config.path or _METRICS_PATH
    if not wanted.startswith("/") or not wanted.isascii() or set(wanted) & set("?# "):
        raise InvalidArgument(
            f"{path}: prometheus_config.path is {wanted!r}, and should be the path of a URL, "
            f"such as {_METRICS_PATH}"
        )
    return wanted


def session_config(path: Path) -> bytes:
    """Read a `tensorflow.ConfigProto` and return it serialized.

    Raises `NotFound` or `InvalidArgument`.
    """
    return read_message(path, ConfigProto).SerializeToString()
