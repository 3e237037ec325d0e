"""A process that makes and writes the lines of the access log, as varnishncsa does for Varnish.

In: events. Out: lines on stderr. Made by the server, the line of a small request would cost a
twentieth of what the request does, and hold the GIL meanwhile.

It begins with the first event, and ends when the server does. If it ends earlier, that is said,
and the lines are made in the server.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import BinaryIO

from sigrun.telemetry.lifeline import end_after
from sigrun.telemetry.lines import About, Event, LineMaker, as_bytes
from sigrun.telemetry.output import STDERR, Output, write, write_all

COMMAND = (sys.executable, "-P", "-m", "sigrun.telemetry.log_process")
"""Starts it. With -P the folder that the server was started in is not searched for code."""

_STDIN = 0
_LENGTH = struct.Struct("=I")  # of the frame that follows: a `LineMaker` and events, pickled
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
_ORPHANED_GRACE_S = 5.0  # for somebody to read what is left

logger = logging.getLogger(__name__)


class LogProcess:
    """Hands events to the process, and never waits for it.

    `on_drop` hears, later, how many events were dropped in all.
    """

    def __init__(
        self,
        on_drop: Callable[[int], None] = lambda dropped: None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._command = command
        self._output = Output(self._write, on_drop=on_drop)
        self._lock = threading.Lock()  # of what follows: one thread writes, and another one flushes
        self._process: subprocess.Popen[bytes] | None = None
        self._is_lost = False

    @property
    def dropped(self) -> int:
        """How many events were dropped, because nobody read the lines of those before them."""
        return self._output.dropped

    def put(self, maker: LineMaker[About], events: Sequence[Event[About]]) -> None:
        """Have the lines of `events` written, or drop them if too much waits already."""
        frame = pickle.dumps((maker, events), pickle.HIGHEST_PROTOCOL)
        self._output.put(_STDIN, _LENGTH.pack(len(frame)) + frame, lines=len(events))

    def flush(self, within_s: float) -> None:
        """Wait until all is written, and the process has ended. The next event starts another."""
        ends_at = time.monotonic() + within_s
        self._output.flush(within_s)
        if not self._lock.acquire(timeout=max(ends_at - time.monotonic(), 0.0)):
            return  # it does not read, as nobody reads what it writes
        process, self._process = self._process, None
        self._lock.release()
        if process is not None:
            _hang_up(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(ends_at - time.monotonic(), 0.0))

    def _write(self, _: int, frames: bytes) -> None:
        """Write to the process, in the thread of the output."""
        with self._lock:
            if not self._is_lost:
                try:
                    self._pass_on(frames)
                except OSError as error:
                    self._is_lost = True
                    self._tell_loss(error)
                else:
                    return
        # What it had taken of these comes twice: better than not at all.
        _write_lines(BytesIO(frames))

    def _pass_on(self, frames: bytes) -> None:
        if self._process is None:
            # A session of its own: Ctrl-C in a terminal is for the server.
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        if self._process.stdin is not None:  # it is a pipe
            write(self._process.stdin.fileno(), frames)

    def _tell_loss(self, error: OSError) -> None:
        process, self._process = self._process, None
        what = f"cannot be started ({error})"
        if process is not None:
            _hang_up(process)
            what = f"has ended with status {process.wait()}, and what it had not written is lost"
        logger.warning("the log process %s; its lines are made in the server from now on", what)


def _hang_up(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:  # it is a pipe
        process.stdin.close()


def main() -> None:
    """Write the lines of what comes over stdin, to its end."""
    for number in _IGNORED:  # systemd sends them to everybody
        signal.signal(number, signal.SIG_IGN)
    end_after(_STDIN, _ORPHANED_GRACE_S)
    _write_lines(sys.stdin.buffer)


def _write_lines(file: BinaryIO) -> None:
    for frame in _frames(file):
        maker, events = pickle.loads(frame)  # noqa: S301  # the server has written it
        lines = maker.safe_lines(events)
        write_all(STDERR, as_bytes("\n".join(lines) + "\n"))


def _frames(file: BinaryIO) -> Iterator[bytes]:
    """Return whole frames; the last one is not if the server was killed while it wrote."""
    while len(header := file.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(header)
        if len(frame := file.read(length)) == length:
            yield frame


if __name__ == "__main__":
    main()
