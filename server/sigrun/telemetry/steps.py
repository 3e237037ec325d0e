"""What a traced request goes through, noted by whoever does it; nothing here knows OpenTelemetry.

`CURRENT` is None, and there is nothing to do, unless tracing is on and this request is sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple, Protocol

Attributes = Mapping[str, str | int | float | bool]


class Step(NamedTuple):
    """One thing that was done. Times are `time.perf_counter` seconds; `link` is a batch, if any."""

    name: str
    began: float
    ended: float
    attributes: Attributes
    link: Trace | None


class Recorder(Protocol):
    """Makes spans of traces."""

    def begin_batch(self, requests: Sequence[Trace], attributes: Attributes) -> Trace:
        """Return a trace for what is done for several requests at once, linked to each."""

    def end(self, trace: Trace) -> None:
        """Record the trace with all its steps."""


class Trace:
    """One request, or one batch, that is sampled. `span` is the recorder's own."""

    __slots__ = ("recorder", "span", "steps")

    def __init__(self, recorder: Recorder, span: object) -> None:
        self.recorder = recorder
        self.span = span
        self.steps: list[Step] = []

    def step(
        self,
        name: str,
        began: float,
        ended: float,
        attributes: Attributes | None = None,
        *,
        link: Trace | None = None,
    ) -> None:
        """Note what was done between two times."""
        self.steps.append(Step(name, began, ended, attributes or {}, link))


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of what is being done."""
