"""Let other threads run between slices of work on megabytes.

Parsers and writers hold the GIL from their first byte to their last, in a thread of their
own too: nothing else runs meanwhile, and the event loop stands still. So work on megabytes is cut
into slices that take a fraction of a millisecond. Whoever starts the work decides where it
runs, and passes the pace that fits; the work calls it between two slices.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Pace = Callable[[], None]
"""Called between two slices of a long piece of work."""

SLICE_BYTES = 128 * 1024

_PAUSE_S = 0.0001


def keep_on() -> None:
    """Go on at once: the pace of work on the event loop, which is small."""


def let_others_run() -> None:
    """Let other threads take the GIL: the pace of work in a thread."""
    # A thread that only releases the GIL has it back before another one has woken up.
    time.sleep(_PAUSE_S)
