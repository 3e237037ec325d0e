"""Work on megabytes in slices, and let others run between them.

Parsers and writers of JSON hold the interpreter's lock from their first byte to their last,
also in a thread of their own: nothing else runs meanwhile, the event loop neither. So they
are given slices that take a fraction of a millisecond, and between two of them the thread
sleeps. Without the sleep it would take the lock back before anyone else has woken up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SLICE_BYTES = 128 * 1024

_PAUSE_S = 0.0001

Pace = Callable[[], None]
"""Called between two slices of work."""


def keep_on() -> None:
    """Do nothing: the pace on the event loop, where nobody else could run meanwhile."""


def let_others_run() -> None:
    """Give the GIL to whoever waits for it: the pace in a thread."""
    time.sleep(_PAUSE_S)


def give_way() -> None:
    """Let other threads run; to be called between slices, outside the event loop's thread."""
    if threading.current_thread() is not threading.main_thread():
        time.sleep(_PAUSE_S)
