"""Decide whether a request is traced before anything is made for it.

OpenTelemetry's `start_span` makes a context, a span and a decision together, and its propagator
reads and writes headers around it: some 20 us for a request that is then not sampled, which at
the usual 1 % is nearly every one. Here the decision comes first, by the same sampler and with a
trace id from the same generator. A request that is sampled goes through `start_span` as always,
which finds the id and the decision already taken, so that nothing is asked twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import SpanKind, TraceFlags, get_current_span

from sigrun.telemetry.steps import Attributes


class HeadSampling:
    """Takes the place of a provider's sampler and ids. Used on one event loop."""

    def __init__(self, provider: TracerProvider) -> None:
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self._random_flag = TraceFlags.RANDOM_TRACE_ID if self._ids.is_trace_id_random() else 0
        root = getattr(self._sampler, "_root", self._sampler)  # of a `ParentBased`, which hides it
        self._bound = root.bound if isinstance(root, TraceIdRatioBased) else None
        self._drawn: int | None = None
        self._decided_sampler = provider.sampler = _DecidedSampler(self._sampler)
        self._decided_ids = _DecidedIds(self._ids)
        provider.id_generator = self._decided_ids  # type: ignore[assignment]  # it takes any

    def drops_new(self) -> bool:
        """Return whether the next request that is part of no trace is not recorded.

        It is decided from a new trace id alone, where the sampler goes by nothing else; False
        where it does, or where the request is recorded: `unsampled` decides then.
        """
        if self._bound is None:
            return False
        trace_id = self._ids.generate_trace_id()
        if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound:
            return True
        self._drawn = trace_id
        return False

    def unsampled(
        self, parent: Context, name: str, kind: SpanKind, attributes: Attributes
    ) -> Mapping[str, str] | None:
        """Return the W3C headers for those who are asked in a request that is not recorded.

        None if it is: the next span that is started is the one of this request.
        """
        known = get_current_span(parent).get_span_context()
        if known.is_valid:
            trace_id, is_random = known.trace_id, known.trace_flags & TraceFlags.RANDOM_TRACE_ID
        else:
            drawn, self._drawn = self._drawn, None
            trace_id = self._ids.generate_trace_id() if drawn is None else drawn
            is_random = self._random_flag
        result = self._sampler.should_sample(parent, trace_id, name, kind, attributes)
        if result.decision is not Decision.DROP:
            self._decided_ids.trace_id = None if known.is_valid else trace_id
            self._decided_sampler.result = result
            return None
        span_id = self._ids.generate_span_id()
        headers = {"traceparent": f"00-{trace_id:032x}-{span_id:016x}-{is_random:02x}"}
        if result.trace_state:
            headers["tracestate"] = result.trace_state.to_header()
        return headers


class _DecidedSampler(Sampler):
    """Says what was decided if something was, once, and asks the sampler otherwise."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.result: SamplingResult | None = None

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        result, self.result = self.result, None
        return self._sampler.should_sample(*args, **kwargs) if result is None else result

    def get_description(self) -> str:
        return self._sampler.get_description()


class _DecidedIds(IdGenerator):
    """Gives the id of the trace that was decided about if there is one, once, or else a new one."""

    def __init__(self, ids: IdGenerator) -> None:
        self._ids = ids
        self.trace_id: int | None = None

    def generate_span_id(self) -> int:
        return self._ids.generate_span_id()

    def generate_trace_id(self) -> int:
        trace_id, self.trace_id = self.trace_id, None
        return self._ids.generate_trace_id() if trace_id is None else trace_id

    def is_trace_id_random(self) -> bool:
        return self._ids.is_trace_id_random()
