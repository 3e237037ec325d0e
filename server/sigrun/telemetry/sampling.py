"""Decide whether a request is traced before anything is made for it.

OpenTelemetry's `start_span` makes a context, a span and a decision together: some 20 us for a
request that is then not sampled, which at the usual 1 % is nearly every one. Here the decision
comes first, by the same sampler, and for most new traces from the trace id alone.
"""

from __future__ import annotations

import random
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, get_current_span

from sigrun.telemetry.steps import Attributes

# Of a `traceparent`, by level 2 of W3C Trace Context; OpenTelemetry 1.42 is the first to name it.
_RANDOM = 0x02
_IDS = RandomIdGenerator()
_COMPARED: Final = TraceIdRatioBased.TRACE_ID_LIMIT.bit_length()  # the lower bits, which decide
_OTHERS: Final = 128 - _COMPARED
_draw: Final = random.getrandbits


class HeadSampling:
    """Draws the ids of spans, and asks a sampler. Used on one event loop."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        root = getattr(sampler, "_root", sampler)  # of a `ParentBased`, which hides it
        self._bound = root.bound if isinstance(root, TraceIdRatioBased) else None
        self._drawn: int | None = None

    def drops_new(self) -> bool:
        """Return whether the next request that is part of no trace is not recorded.

        It is decided from a new trace id alone, where the sampler goes by nothing else; False
        where it does, or where the request is recorded: `decide` does it then.
        """
        if (bound := self._bound) is None:
            return False
        # As `RandomIdGenerator` does, but first those bits that decide: this is all that most
        # requests are asked.
        lower = _draw(_COMPARED)
        if lower >= bound:
            return True
        self._drawn = _draw(_OTHERS) << _COMPARED | lower
        return False

    def decide(
        self, parent: Context, name: str, kind: SpanKind, attributes: Attributes
    ) -> tuple[SpanContext, SamplingResult]:
        """Return the context of a new span, and what the sampler says of it."""
        known = get_current_span(parent).get_span_context()
        if known.is_valid:
            trace_id, flags = known.trace_id, known.trace_flags & _RANDOM
        else:
            drawn, self._drawn = self._drawn, None
            trace_id = _IDS.generate_trace_id() if drawn is None else drawn
            flags = _RANDOM
        result = self._sampler.should_sample(parent, trace_id, name, kind, attributes)
        if result.decision is Decision.RECORD_AND_SAMPLE:
            flags |= TraceFlags.SAMPLED
        span_id, state = _IDS.generate_span_id(), result.trace_state
        return SpanContext(trace_id, span_id, False, TraceFlags(flags), state), result
