"""TLS of a port: certificates in memory to a context for sockets."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from sigrun.config.server import TlsOptions
from sigrun.errors import InvalidArgument
from sigrun.wire.certificates import load_identity
from sigrun.wire.transport.service import Spoken


def tls_context(tls: TlsOptions, spoken: Iterable[Spoken]) -> ssl.SSLContext:
    """Return what serves these certificates, and offers what may be spoken by ALPN.

    It reads and writes files for a moment. Raises `InvalidArgument` for certificates that
    cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([name.value for name in spoken])
    try:
        load_identity(context, certificate=tls.server_cert, key=tls.server_key)
        if tls.custom_ca:
            context.load_verify_locations(cadata=tls.custom_ca.decode())
        elif tls.verify_client:
            raise ValueError("client_verify needs a custom_ca")
        context.verify_mode = ssl.CERT_REQUIRED if tls.verify_client else ssl.CERT_NONE
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgument(f"cannot use its TLS settings: {error}") from None
    return context
