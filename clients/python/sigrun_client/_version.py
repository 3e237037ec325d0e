"""The version, and how the client calls itself."""

from __future__ import annotations

__version__ = "0.2.0"
USER_AGENT = f"sigrun-client/{__version__}"
