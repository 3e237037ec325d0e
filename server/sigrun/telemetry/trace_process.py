"""A process that makes the spans of requests, and sends them to whoever collects traces.

In: what is recorded of requests. Out: spans, by OpenTelemetry's processor and exporter, which take
some 200 us for each request: in the server they would hold the GIL for that long.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sigrun.telemetry import helper, logs
from sigrun.telemetry.spans import Recorded, Spans
from sigrun.telemetry.tracing import spans_from_environment

if TYPE_CHECKING:
    from sigrun.telemetry.tracer import Sink

_GRACE_S = 3.0  # to send what is left
_FLUSH_S = _GRACE_S + 1.0

logger = logging.getLogger("sigrun.telemetry.trace_process")  # in the process it is `__main__`


class TraceProcess:
    """Hands what is recorded to the process, and never waits for it; a `Sink`.

    `service` is the name of what is traced if the environment has none.
    """

    def __init__(self, service: str) -> None:
        command = helper.command(__name__, service, *logs.words())
        self._helper = helper.Helper("trace", command, self._send_from_here, _tell_drops)
        self._service = service
        self._here: Spans | None = None
        self._helper.begin()  # it imports OpenTelemetry, which takes a second

    def put(self, recorded: Recorded) -> None:
        """Have it sent, or drop it if too much waits already."""
        self._helper.put(pickle.dumps(tuple(recorded), pickle.HIGHEST_PROTOCOL))

    def close(self) -> None:
        """Send what waits, for some seconds at most; blocks."""
        self._helper.flush(_FLUSH_S)
        if self._here is not None:
            self._here.close()

    def _send_from_here(self, frames: Iterator[bytes]) -> None:
        if self._here is None:
            self._here = spans_from_environment(service=self._service)
        _send(frames, self._here)


def _tell_drops(dropped: int) -> None:
    logger.warning("%d traces were dropped so far, as they could not be sent in time", dropped)


def _send(frames: Iterator[bytes], sink: Sink) -> None:
    for frame in frames:
        sink.put(Recorded(*pickle.loads(frame)))  # noqa: S301  # the server has written it


def main(service: str, *words: str) -> None:
    """Be the process, which logs as `words` say."""
    logs.configure_by(words)
    try:
        spans = spans_from_environment(service=service)
    except Exception:
        logger.exception("no spans can be sent as the environment says")
        logs.flush()
        sys.exit(1)
    helper.serve(lambda frames: _send(frames, spans), grace_s=_GRACE_S)
    spans.close()
    logs.flush()
    os._exit(0)  # an exporter may still try to reach somebody


if __name__ == "__main__":
    main(*sys.argv[1:])
