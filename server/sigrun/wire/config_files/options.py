"""The other text-format files that a server is configured with -> values."""

from __future__ import annotations

from pathlib import Path

from sigrun._gen.tensorflow_serving.config.ssl_config_pb2 import SSLConfig
from sigrun.config.server import TlsOptions
from sigrun.wire.config_files.text_format import read_message


def tls_options(path: Path) -> TlsOptions:
    """Read an SSLConfig. Raises `NotFound` or `InvalidArgument`."""
    config = read_message(path, SSLConfig)
    return TlsOptions(
        server_key=config.server_key.encode(),
        server_cert=config.server_cert.encode(),
        custom_ca=config.custom_ca.encode(),
        verify_client=config.client_verify,
    )
