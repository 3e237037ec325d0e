"""Servers upstream, as a backend of the HTTP application.

- channels: connections, and calls on bytes: deadlines, request ids, errors
- signatures: what is known of each model's signatures
- inference, management: the backend itself, `sigrun.inference.backend`
- reloading: certificates and a token that are read again when they change
"""

from __future__ import annotations

from sigrun.wire.upstream.channels import Upstream, check_tls
from sigrun.wire.upstream.inference import UpstreamInference
from sigrun.wire.upstream.management import UpstreamManagement
from sigrun.wire.upstream.reloading import followed_upstream

__all__ = [
    "Upstream",
    "UpstreamInference",
    "UpstreamManagement",
    "check_tls",
    "followed_upstream",
]
