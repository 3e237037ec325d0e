"""What travels with a call, whatever it asks: who asks, through which door, until when.

Made by a door when a request comes in, never changed, and carried by every call to its end: to
logs, metrics and traces, into every wait, and on to a server upstream.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sigrun.inference.calls import ResolvedSpec

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


class Outcome:
    """What a call turned out to ask, noted by `inference.observed` as it becomes known.

    For whatever surrounds a request on bytes, such as metrics and the access log: it cannot know
    the model. `target` is what answered, or what the call failed with, None where no version was
    found. `inference_began` and `inference_ended` are `time.perf_counter` seconds: before is
    reading, after is writing; 0.0 if it did not come to that. `examples` are those of a Classify,
    Regress or MultiInference.
    """

    __slots__ = ("examples", "inference_began", "inference_ended", "target")

    def __init__(self) -> None:
        self.target: ResolvedSpec | None = None
        self.inference_began = 0.0
        self.inference_ended = 0.0
        self.examples = 0


class CallContext(NamedTuple):
    """One call's surroundings.

    `deadline` is in `time.monotonic` seconds, None for a caller who waits for ever. `peer` is
    the caller's address as text, `trace_parent` the W3C header of that name, and `trace_state`
    the other one where tracing has read it. `outcome` is filled in on the way; None for a call that
    nobody looks at.
    """

    door: Door
    request_id: str = ""
    deadline: float | None = None
    peer: str = ""
    metadata: Metadata = _NO_METADATA
    trace_parent: str = ""
    trace_state: str = ""
    outcome: Outcome | None = None

    def in_trace(self, trace_parent: str, trace_state: str) -> CallContext:
        """Return the same for those who are asked on the way."""
        # `_replace` takes several times longer, and this is on the path of every traced request.
        return tuple.__new__(CallContext, (*self[:5], trace_parent, trace_state, self[7]))


INTERNAL = CallContext(Door.INTERNAL)
"""For calls that nobody made from outside, without a deadline."""
