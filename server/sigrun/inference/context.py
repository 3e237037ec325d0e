"""What travels with a call, whatever it asks: who asks, through which door, until when.

Made by a door when a request comes in, never changed, and carried by every call to its end: to
logs, metrics and traces, into every wait, and on to a server upstream.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Metadata = Mapping[str, str | bytes]
"""Names in lower case. Values are text, or bytes for names that end in `-bin`; what was sent
several times is joined by commas."""

_NO_METADATA: Metadata = MappingProxyType({})


class Door(enum.StrEnum):
    """The protocol by which a call came in."""

    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    CONNECT = "connect"
    REST = "rest"
    INTERNAL = "internal"  # the server's own, such as a look at the health of another

    # Counted by what comes in: a dict asks for it at every request, and `str` is read faster
    # than the descriptor of an enum.
    __hash__ = str.__hash__


class CallContext(NamedTuple):
    """One call's surroundings.

    `deadline` is in `time.monotonic` seconds, None for a caller who waits for ever. `peer` is
    the caller's address as text, `trace_parent` the W3C header of that name.
    """

    door: Door
    request_id: str = ""
    deadline: float | None = None
    peer: str = ""
    metadata: Metadata = _NO_METADATA
    trace_parent: str = ""


INTERNAL = CallContext(Door.INTERNAL)
"""For calls that nobody made from outside, without a deadline."""
