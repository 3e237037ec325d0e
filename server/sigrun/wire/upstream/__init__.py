"""Servers upstream, as a backend of the HTTP application.

- channels: connections, and calls on bytes: deadlines, request ids, errors
- signatures: what is known of each model's signatures
- inference, management: the backend itself, `sigrun.inference.backend`
"""

from __future__ import annotations

from sigrun.wire.upstream.channels import Upstream
from sigrun.wire.upstream.inference import UpstreamInference
from sigrun.wire.upstream.management import UpstreamManagement

__all__ = ["Upstream", "UpstreamInference", "UpstreamManagement"]
