"""The threads that read and write bodies which would hold up the event loop."""

from __future__ import annotations

from sigrun.concurrency.threads import Threads

# Reading and writing hold up the interpreter for the most part: more threads help nobody.
_THREADS = 2
_MAX_WAITING = 256


def body_threads() -> Threads:
    """Return the threads, which every door of a process shares; they are the caller's to close."""
    return Threads(name="body", count=_THREADS, max_waiting=_MAX_WAITING)
