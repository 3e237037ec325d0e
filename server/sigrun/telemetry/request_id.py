"""The id of the request that is being answered: in log lines, and passed on to servers upstream.

A transport that has one sets it for the task that answers the request.
"""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Empty where there is none."""

METADATA_KEY = "x-request-id"
"""The header that carries it, over HTTP and gRPC alike."""
