"""The event loop of a process that serves, and what the interpreter is told for its sake."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any

# For so long a thread that loads a model or reads a body may keep the event loop waiting for the
# interpreter's lock, at each of its turns; Python's own 5 ms would be seen in every latency.
_SWITCH_INTERVAL_S = 0.0005


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end on a loop of its own. Raises what it raises."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.freeze()  # modules stay: no collection need walk over them while a request waits
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop, a third faster under gRPC, where it runs."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  # it is not there on Windows

    return uvloop.new_event_loop
