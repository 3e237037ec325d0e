"""HTTP/1.0 and 1.1, sans-I/O: `core` on `heads`, `chunks` and `answers`."""

from sigrun.wire.transport.http1.core import Http1

__all__ = ["Http1"]
