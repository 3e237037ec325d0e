"""How much memory the process holds; and hand what was freed back to the system."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")


def give_back_memory() -> None:
    """Free what is garbage, and hand it to the system; graphs refer to themselves."""
    gc.collect()
    if sys.platform == "linux":
        # The C library keeps what was freed for the next allocation; where it has no such
        # function (musl), it gives memory back by itself.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def resident_bytes() -> int | None:
    """Return how much memory the process holds, None where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None
