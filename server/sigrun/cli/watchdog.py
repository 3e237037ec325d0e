"""End a process that was told to end and does not.

In: how long the orderly end may take. Out: nothing, if the process ends by then. If not, a line of
the log says what hangs, and the process exits. A thread does that; should it not come to run,
because native code keeps the GIL, the system's own timer ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from sigrun.telemetry.logs import flush

logger = logging.getLogger(__name__)

EXIT_STATUS = 1

_TIMER_AFTER_S = 1.4  # for the log to be written, which takes a second at most
_MAX_NAMED = 10  # tasks and threads, each


def end_within(within_s: float, loop: asyncio.AbstractEventLoop) -> None:
    """End the process in `within_s` seconds if it has not ended; once, in the main thread.

    What is left of `loop` is named then. Nothing takes this back: a process also hangs when its
    interpreter ends and waits for threads.
    """
    told_at = time.monotonic()
    patience_s = max(0.0, within_s - _TIMER_AFTER_S)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(within_s, 0.001))
    threading.Thread(
        target=_watch, args=(told_at, patience_s, loop), name="watchdog", daemon=True
    ).start()


def _watch(told_at: float, patience_s: float, loop: asyncio.AbstractEventLoop) -> None:
    time.sleep(patience_s)
    logger.error(
        "the process did not end within %.1f s of the signal and is ended now; what hangs: %s",
        time.monotonic() - told_at,
        ", ".join(_unfinished(loop)) or "the end of the interpreter",
    )
    flush()
    os._exit(EXIT_STATUS)


def _unfinished(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """Yield what keeps the process: where the main thread is, other threads, and tasks."""
    frames = sys._current_frames()
    waited_for = [thread for thread in threading.enumerate() if not thread.daemon]
    for thread in waited_for[:_MAX_NAMED]:
        if thread.ident in frames:
            yield f"thread {thread.name} in {_place(frames[thread.ident])}"
    tasks = [] if loop.is_closed() else [*asyncio.all_tasks(loop)]
    for task in tasks[:_MAX_NAMED]:
        yield f"task {task.get_name()!r}"


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname} ({os.path.basename(code.co_filename)}:{frame.f_lineno})"
