"""A process that makes and writes the lines of the access log, as varnishncsa does for Varnish.

In: events. Out: lines on stderr. Made by the server, the line of a small request would cost a
twentieth of what the request does, and hold the GIL meanwhile.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Iterator, Sequence

from sigrun.telemetry import helper
from sigrun.telemetry.lines import About, Event, LineMaker, as_bytes
from sigrun.telemetry.output import STDERR, write_all

_GRACE_S = 5.0  # for somebody to read what is left


class LogProcess:
    """Hands events to the process, and never waits for it.

    `on_drop` hears, later, how many events were dropped in all.
    """

    def __init__(self, on_drop: Callable[[int], None] = lambda dropped: None) -> None:
        self._helper = helper.Helper("log", helper.command(__name__), _write_lines, on_drop)

    @property
    def dropped(self) -> int:
        """How many events were dropped, because nobody read the lines of those before them."""
        return self._helper.dropped

    def put(self, maker: LineMaker[About], events: Sequence[Event[About]]) -> None:
        """Have the lines of `events` written, or drop them if too much waits already."""
        frame = _pickled(maker) + pickle.dumps(events, pickle.HIGHEST_PROTOCOL)
        self._helper.put(frame, len(events))

    def flush(self, within_s: float) -> None:
        """Wait until all is written, and the process has ended. The next event starts another."""
        self._helper.flush(within_s)


@functools.lru_cache(maxsize=16)  # of the few there are; to pickle one takes as long as ten events
def _pickled(maker: LineMaker[About]) -> bytes:
    return pickle.dumps(maker, pickle.HIGHEST_PROTOCOL)


def _write_lines(frames: Iterator[bytes]) -> None:
    for frame in map(io.BytesIO, frames):
        # The server has written it.
        maker, events = pickle.load(frame), pickle.load(frame)  # noqa: S301
        lines = maker.safe_lines(events)
        write_all(STDERR, as_bytes("\n".join(lines) + "\n"))


if __name__ == "__main__":
    helper.serve(_write_lines, grace_s=_GRACE_S)
