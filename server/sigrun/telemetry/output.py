"""Write to the standard descriptors without ever waiting for whoever reads them.

In: bytes, from any thread. Out: the same on a descriptor, written by a thread of its own. A pipe
that nobody reads stops that thread and nothing else: what comes then is kept up to a bound, and
beyond it dropped and counted.

A line that comes alone is written at once. Where they come quickly, those of some milliseconds are
written together: a thread that wakes for each line would fight the event loop for the GIL at each,
which costs several times what the line does.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

STDOUT, STDERR = 1, 2

_MAX_WAITING_BYTES = 4 * 1024 * 1024
_PAUSE_S = 0.02  # between two writes, unless somebody waits for them


def open_standard_descriptors() -> None:
    """Put the null device where a standard descriptor is closed.

    Otherwise the next socket would get its number, and a client our log.
    """
    for number in (0, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data`, however long that takes. What cannot be written (a full disk) is lost.

    Lines of up to 4 KiB (512 bytes on macOS) stay whole where several processes write to one pipe.
    """
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            write(descriptor, data)
            return
        for piece in _pieces(data):
            write(descriptor, piece)


def _pieces(data: bytes) -> Iterator[memoryview]:
    """Cut `data` where lines end, into what a pipe takes in one piece or not at all (POSIX)."""
    view, begin = memoryview(data), 0
    while begin < len(data):
        end = begin + select.PIPE_BUF
        if end < len(data):
            end = data.rfind(b"\n", begin, end) + 1 or end
        yield view[begin:end]
        begin = end


def write(descriptor: int, data: bytes | memoryview) -> None:
    """Write `data`, however long that takes. Raises OSError for what cannot be written."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever shares the descriptor made it non-blocking
            room = select.poll()  # `select.select` takes no descriptor above 1023
            room.register(descriptor, select.POLLOUT)
            room.poll()


def _take_nothing(descriptor: int, data: bytes) -> int:
    return 0


class Output:
    """What waits to be written, in order. `on_drop` hears, later, how much was dropped in all.

    `write_now` writes what it can without waiting, and returns how many bytes that was. It is asked
    where nothing else waits, so that the thread need not wake. Only `write` waits.
    """

    def __init__(
        self,
        write: Callable[[int, bytes], None] = write_all,
        *,
        write_now: Callable[[int, bytes], int] = _take_nothing,
        max_waiting_bytes: int = _MAX_WAITING_BYTES,
        pause_s: float = _PAUSE_S,
        on_drop: Callable[[int], None] = lambda dropped: None,
    ) -> None:
        self._write = write
        self._write_now = write_now
        self._max_waiting_bytes = max_waiting_bytes
        self._pause_s = pause_s
        self._on_drop = on_drop
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0  # with those that are being written
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_idle = False  # whether the thread waits for the next text
        self._flushing = 0  # how many wait until everything is written
        self._thread: threading.Thread | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many lines were dropped since the process began."""
        return self._dropped

    def put(self, descriptor: int, data: bytes, *, lines: int = 1) -> None:
        """Have `data` written, or drop its `lines` if too much waits already."""
        with self._lock:  # entered in C, unlike a condition
            if self._waiting_bytes + len(data) > self._max_waiting_bytes:
                self._dropped += lines
                return
            if not self._waiting_bytes and (written := self._write_now(descriptor, data)):
                data = data[written:]
                if not data:
                    return
            self._waiting.append((descriptor, data))
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="output", daemon=True)
                self._thread.start()
            if self._is_idle:
                self._changed.notify_all()

    def flush(self, within_s: float) -> bool:
        """Wait until everything is written; return whether it is."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._waiting_bytes, within_s)
            finally:
                self._flushing -= 1

    def _run(self) -> None:
        told = 0
        written_at = time.monotonic() - self._pause_s
        while True:
            with self._changed:
                pause_s = written_at + self._pause_s - time.monotonic()
                self._changed.wait_for(lambda: self._flushing, max(pause_s, 0.0))
                self._is_idle = True
                self._changed.wait_for(lambda: self._waiting)
                self._is_idle = False
                descriptor, data = self._next()
            self._write(descriptor, data)
            written_at = time.monotonic()
            with self._changed:
                self._waiting_bytes -= len(data)
                dropped = self._dropped
                self._changed.notify_all()
            if dropped > told:
                told = dropped
                self._on_drop(dropped)

    def _next(self) -> tuple[int, bytes]:
        """Take what waits for the first descriptor, up to where another one comes."""
        first = self._waiting[0][0]
        texts = []
        while self._waiting and self._waiting[0][0] == first:
            texts.append(self._waiting.popleft()[1])
        return first, b"".join(texts)
