"""A process that makes and writes the lines of the access log, as varnishncsa does for Varnish.

In: events. Out: lines on stderr. Made by the server, the line of a small request would cost a
twentieth of what the request does, and hold the GIL meanwhile.

It begins with the first event, and ends when the server does. If it ends earlier, that is said,
and the lines are made in the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import logging
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sigrun.telemetry.lifeline import end_after
from sigrun.telemetry.lines import About, Event, LineMaker, as_bytes
from sigrun.telemetry.output import STDERR, Output, write, write_all

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMMAND = (sys.executable, "-P", "-m", "sigrun.telemetry.log_process")
"""Starts it. With -P the folder that the server was started in is not searched for code."""

_STDIN = 0
_LENGTH = struct.Struct("=I")  # of the frame that follows: a `LineMaker` and events, both pickled
_PIPE_BYTES = 1024 * 1024  # where Linux lets us: some hundred milliseconds of small requests
_PAUSE_S = 0.02  # between two looks into the pipe
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
        self._output = Output(self._write, write_now=self._write_now, on_drop=on_drop)
        self._lock = threading.Lock()  # of what follows: one thread writes, and another one flushes
        self._child: _Child | None = None
        self._begun = b""  # what the process has of the frame of which the rest waits
        self._is_lost = False

    @property
    def dropped(self) -> int:
        """How many events were dropped, because nobody read the lines of those before them."""
        return self._output.dropped

    def put(self, maker: LineMaker[About], events: Sequence[Event[About]]) -> None:
        """Have the lines of `events` written, or drop them if too much waits already."""
        frame = _pickled(maker) + pickle.dumps(events, pickle.HIGHEST_PROTOCOL)
        self._output.put(_STDIN, _LENGTH.pack(len(frame)) + frame, lines=len(events))

    def flush(self, within_s: float) -> None:
        """Wait until all is written, and the process has ended. The next event starts another."""
        ends_at = time.monotonic() + within_s
        self._output.flush(within_s)
        if not self._lock.acquire(timeout=max(ends_at - time.monotonic(), 0.0)):
            return  # it does not read, as nobody reads what it writes
        child, self._child = self._child, None
        self._lock.release()
        if child is not None:
            os.close(child.pipe)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(ends_at - time.monotonic(), 0.0))

    def _write_now(self, _: int, frame: bytes) -> int:
        """Write what the pipe has room for, in the thread of whoever logs.

        To wake the thread of the output instead costs a small request a twentieth, most of it for
        the GIL.
        """
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            written = os.write(self._child.pipe, frame) if self._child else 0
        except OSError:  # no room, or nobody there: the other thread waits, or tells
            return 0
        finally:
            self._lock.release()
        if written < len(frame):
            self._begun = frame[:written]
        return written

    def _write(self, _: int, frames: bytes) -> None:
        """Write to the process, in the thread of the output."""
        with self._lock:
            begun, self._begun = self._begun, b""
            if not self._is_lost:
                try:
                    if self._child is None:
                        self._child = _begin(self._command)
                        frames, begun = begun + frames, b""
                    write(self._child.pipe, frames)
                except OSError as error:
                    self._is_lost = True
                    self._tell_loss(error)
                else:
                    return
        # What it had taken of these comes twice: better than not at all.
        _write_lines(io.BytesIO(begun + frames))

    def _tell_loss(self, error: OSError) -> None:
        child, self._child = self._child, None
        what = f"cannot be started ({error})"
        if child is not None:
            os.close(child.pipe)
            status = child.process.wait()
            what = f"has ended with status {status}, and what it had not written is lost"
        logger.warning("the log process %s; its lines are made in the server from now on", what)


class _Child(NamedTuple):
    """A log process, and the end of its pipe that is written to, without ever blocking."""

    process: subprocess.Popen[bytes]
    pipe: int


def _begin(command: Sequence[str]) -> _Child:
    reading, writing = os.pipe()
    try:
        # A session of its own: Ctrl-C in a terminal is for the server.
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command, stdin=reading, stdout=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    os.set_blocking(writing, False)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # of a user who has many
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return _Child(process, writing)


@functools.lru_cache(maxsize=16)  # of the few there are; to pickle one takes as long as ten events
def _pickled(maker: LineMaker[About]) -> bytes:
    return pickle.dumps(maker, pickle.HIGHEST_PROTOCOL)


def main() -> None:
    """Write the lines of what comes over stdin, to its end."""
    for number in _IGNORED:  # systemd sends them to everybody
        signal.signal(number, signal.SIG_IGN)
    end_after(_STDIN, _ORPHANED_GRACE_S)
    _write_lines(io.BufferedReader(_Slowly(_STDIN), _PIPE_BYTES))


class _Slowly(io.FileIO):
    """A pipe that is read at intervals: whoever writes would pay for waking a reader that waits."""

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        time.sleep(_PAUSE_S)
        return super().readinto(buffer)


def _write_lines(file: io.BufferedIOBase) -> None:
    for frame in _frames(file):
        # The server has written it.
        maker, events = pickle.load(frame), pickle.load(frame)  # noqa: S301
        lines = maker.safe_lines(events)
        write_all(STDERR, as_bytes("\n".join(lines) + "\n"))


def _frames(file: io.BufferedIOBase) -> Iterator[io.BytesIO]:
    """Return whole frames; the last one is not if the server was killed while it wrote."""
    while len(header := file.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(header)
        if len(frame := file.read(length)) == length:
            yield io.BytesIO(frame)


if __name__ == "__main__":
    main()
