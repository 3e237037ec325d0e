"""Certificates and keys in memory -> what Python's `ssl` makes of them."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path


def load_identity(context: ssl.SSLContext, *, certificate: bytes, key: bytes) -> None:
    """Have a context show this certificate. It reads and writes a file for a moment.

    Raises `ssl.SSLError` or `ValueError` for what cannot be used, as where the two do not belong
    together.
    """
    # Python reads them from files only; this one is its owner's alone, and gone at once.
    with tempfile.TemporaryDirectory(prefix="sigrun-") as folder:
        path = Path(folder) / "identity.pem"
        path.touch(mode=0o600)
        path.write_bytes(key + b"\n" + certificate)
        context.load_cert_chain(path, password=_no_password)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # OpenSSL would ask at the terminal
