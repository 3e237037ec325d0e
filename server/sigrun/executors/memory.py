"""Hand memory that was freed back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back_memory() -> None:
    """Free what is garbage, and hand it to the system; graphs refer to themselves."""
    gc.collect()
    if sys.platform == "linux":
        # The C library keeps what was freed for the next allocation; where it has no such
        # function (musl), it gives memory back by itself.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
