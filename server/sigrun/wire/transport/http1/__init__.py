"""HTTP/1.0 and 1.1, sans-I/O: `core`, on a `reader` of `heads` and `chunks`, and on `answers`."""

from sigrun.wire.transport.http1.core import Http1

__all__ = ["Http1"]
