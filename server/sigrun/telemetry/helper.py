"""A process beside the server for what need not hold its GIL, such as writing the access log.

In: frames, which are bytes. Out: whatever is made of them there, by functions of modules.

It begins with the first frame, and ends when the server does. If it ends earlier, that is said,
and the server does the work itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sigrun.telemetry.lifeline import end_after
from sigrun.telemetry.output import Output, write

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Work = Callable[[Iterator[bytes]], None]
"""Does what is to be done, with all frames that come."""

_STDIN = 0
_LENGTH = struct.Struct("=I")  # of the frame that follows
_PIPE_BYTES = 1024 * 1024  # where Linux lets us: some hundred milliseconds of an access log
_PAUSE_S = 0.02  # between two looks into the pipe
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)

logger = logging.getLogger(__name__)


def command(module: str, *words: str) -> Sequence[str]:
    """Return what starts a helper: a module that calls `serve`.

    With -P the folder that the server was started in is not searched for code.
    """
    return sys.executable, "-P", "-m", module, *words


class Helper:
    """Hands frames to the process, and never waits for it.

    `name` is what the log calls it. `work` is done here once the process is lost. `on_drop` hears,
    later, how much was dropped in all.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        work: Work,
        on_drop: Callable[[int], None],
    ) -> None:
        self._name = name
        self._command = command
        self._work = work
        self._output = Output(self._write, write_now=self._write_now, on_drop=on_drop)
        self._lock = threading.Lock()  # of what follows: one thread writes, and another one flushes
        self._child: _Child | None = None
        self._begun = b""  # what the process has of the frame of which the rest waits
        self._is_lost = False
        self._last_failure = ""

    @property
    def dropped(self) -> int:
        """How much was dropped, because the process did not get round to what came before."""
        return self._output.dropped

    def begin(self) -> None:
        """Start the process now, before there is something to do."""
        self.put(b"", count=0)

    def put(self, frame: bytes, count: int = 1) -> None:
        """Hand `frame` over, or drop the `count` things in it if too much waits already."""
        self._output.put(_STDIN, _LENGTH.pack(len(frame)) + frame, lines=count)

    def flush(self, within_s: float) -> None:
        """Wait until all is done, and the process has ended. The next frame starts another."""
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
        """Write what the pipe has room for, in the thread of whoever hands it over.

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
        try:
            self._work(_frames(io.BytesIO(begun + frames)))
        except Exception as error:  # the next frames may fare better, and are not to wait for ever
            self._tell_failure(error)

    def _tell_failure(self, error: Exception) -> None:
        failure = repr(error)
        if failure != self._last_failure:
            logger.error("the work of the %s process failed", self._name, exc_info=error)
            self._last_failure = failure

    def _tell_loss(self, error: OSError) -> None:
        child, self._child = self._child, None
        what = f"cannot be started ({error})"
        if child is not None:
            os.close(child.pipe)
            status = child.process.wait()
            what = f"has ended with status {status}, and what it had not done is lost"
        logger.warning("the %s process %s; the server does its work from now on", self._name, what)


class _Child(NamedTuple):
    """The process, and the end of its pipe that is written to, without ever blocking."""

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


def serve(work: Work, *, grace_s: float) -> None:
    """Be the process: do `work` with what comes over stdin, to its end.

    The process is ended `grace_s` seconds after that, whatever is left to do.
    """
    for number in _IGNORED:  # systemd sends them to everybody
        signal.signal(number, signal.SIG_IGN)
    end_after(_STDIN, grace_s)
    work(_frames(io.BufferedReader(_Slowly(_STDIN), _PIPE_BYTES)))


class _Slowly(io.FileIO):
    """A pipe that is read at intervals: whoever writes would pay for waking a reader that waits."""

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        time.sleep(_PAUSE_S)
        return super().readinto(buffer)


def _frames(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Return whole frames; the last one is not if the server was killed while it wrote."""
    while len(header := file.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(header)
        if len(frame := file.read(length)) == length and frame:
            yield frame
