"""A span for every sampled request, by OpenTelemetry's semantic conventions for RPC and HTTP.

Reading and writing are spans in it, and so is whatever is noted in `telemetry.steps` on the way:
waiting in a queue, runs. The context goes on to a server upstream in the place of the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext, Door
from sigrun.telemetry.steps import CURRENT, Trace
from sigrun.wire.interceptors import Answer, Reply, Request
from sigrun.wire.rest.api import RestCall
from sigrun.wire.status import HTTP_STATUS

if TYPE_CHECKING:
    from sigrun.telemetry.tracer import Tracer

_TRACE_PARENT, _TRACE_STATE = "traceparent", "tracestate"
_NO_HEADERS: Mapping[str, str] = {}

# By the conventions, these are errors of a server; the others are answers that a caller asked for.
_FAILURES = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
# The routes of the REST API by action, and how they are asked for.
_ROUTES = {
    "predict": ("POST", "/v1/models/{model}:predict"),
    "classify": ("POST", "/v1/models/{model}:classify"),
    "regress": ("POST", "/v1/models/{model}:regress"),
    "metadata": ("GET", "/v1/models/{model}/metadata"),
    "status": ("GET", "/v1/models/{model}"),
    "models": ("GET", "/v1/models"),
}


class Tracing:
    """An interceptor that traces; the first of all, so that it sees what the others take.

    With `passes_on` others are asked on the way, and are told of the trace, sampled or not.
    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        passes_on: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tracer = tracer
        self._passes_on = passes_on
        self._clock = clock

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer` with a span around it, where the request is sampled."""
        tracer, clock = self._tracer, self._clock
        is_last = not self._passes_on
        name, always = _name_and_attributes(method)

        # Not a coroutine: every request that is not sampled would pay for a frame that only waits.
        def traced(request: Request, context: CallContext) -> Awaitable[Reply]:
            if is_last and not context.trace_parent and tracer.drops_new():
                return answer(request, context)
            attributes = _of_request(request, context) | always
            trace, onwards = tracer.begin(name, _headers(context), attributes)
            context = context.in_trace(onwards[_TRACE_PARENT], onwards.get(_TRACE_STATE, ""))
            if trace is None:
                return answer(request, context)
            return recorded(trace, clock(), request, context)

        async def recorded(
            trace: Trace, began: float, request: Request, context: CallContext
        ) -> Reply:
            CURRENT.set(trace)  # every request has a context of its own
            code = Code.OK
            try:
                return await answer(request, context)
            except BaseException as error:
                code = code_of(error)
                raise
            finally:
                _finish(tracer, trace, context, code, (began, clock()))

        return traced


def _headers(context: CallContext) -> Mapping[str, str]:
    """Return what the caller says of the trace that the request is part of."""
    if not context.trace_parent:
        return _NO_HEADERS
    headers = {_TRACE_PARENT: context.trace_parent}
    if state := context.metadata.get(_TRACE_STATE):
        headers[_TRACE_STATE] = str(state)
    return headers


def _name_and_attributes(method: str) -> tuple[str, dict[str, str]]:
    """Return what the span of a method is called, and what is true of all its spans."""
    action = method.rpartition(":")[2]
    if method.startswith("/") and action in _ROUTES:
        verb, route = _ROUTES[action]
        return f"{verb} {route}", {"http.request.method": verb, "http.route": route}
    service, _, name = method.rpartition("/")
    return method, {"rpc.service": service, "rpc.method": name}


def _of_request(request: object, context: CallContext) -> dict[str, str]:
    attributes: dict[str, str] = {"sigrun.request_id": context.request_id}
    if context.peer:
        attributes["client.address"] = context.peer
    if isinstance(request, RestCall):
        attributes["url.path"] = request.request.target.partition("?")[0]
    else:
        attributes["rpc.system"] = _rpc_system(context.door)
    return attributes


def _rpc_system(door: Door) -> str:
    return "connect_rpc" if door is Door.CONNECT else "grpc"


def _finish(
    tracer: Tracer, trace: Trace, context: CallContext, code: Code, span: tuple[float, float]
) -> None:
    began, ended = span
    attributes: dict[str, str | int] = {}
    if context.door is Door.REST:
        attributes["http.response.status_code"] = HTTP_STATUS[code]
        is_failure = HTTP_STATUS[code] >= 500
    elif context.door is Door.CONNECT:
        if code is not Code.OK:
            attributes["rpc.connect_rpc.error_code"] = code.name.lower()
        is_failure = code in _FAILURES
    else:
        attributes["rpc.grpc.status_code"] = code.value
        is_failure = code in _FAILURES
    if is_failure:
        attributes["error.type"] = code.name
    if (outcome := context.outcome) is not None:
        if (target := outcome.target) is not None:
            attributes["sigrun.model"] = target.name
            attributes["sigrun.version"] = target.version
            attributes["sigrun.signature"] = target.signature_name
        if outcome.inference_ended:
            trace.step("decode", began, outcome.inference_began)
            if code is Code.OK:
                trace.step("encode", outcome.inference_ended, ended)
    tracer.describe(trace, attributes, failure=code.name if is_failure else None)
    tracer.end(trace)
