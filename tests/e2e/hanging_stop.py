"""A server that hangs when it is told to stop: `python -m tests.e2e.hanging_stop HOW`.

HOW is what it hangs in: `task`, `sleep` (of the event loop's thread) `native` code that keeps the
GIL, or a `thread` that the end of the interpreter waits for. It says `serves`.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time

from sigrun.cli.running import run_until_signalled
from sigrun.telemetry.lines import LogFormat
from sigrun.telemetry.logs import configure_logs

GRACE_S = 0.2
LEEWAY_S = 2.0
FOREVER_S = 3600


class HangingServer:
    """Starts at once, and hangs in `how`."""

    def __init__(self, how: str) -> None:
        self._how = how

    async def start(self) -> None:
        """Serve nothing."""

    def reread(self) -> None:
        """Read nothing."""

    async def stop(self, grace_s: float) -> None:
        match self._how:
            case "task":
                await asyncio.Event().wait()
            case "sleep":
                time.sleep(FOREVER_S)  # noqa: ASYNC251  # that is the fault
            case "native":
                ctypes.PyDLL(None).sleep(FOREVER_S)
            case "thread":
                threading.Thread(target=time.sleep, args=(FOREVER_S,), name="stuck").start()


def announce(_: HangingServer) -> None:
    """Say that it serves."""
    sys.stdout.write("serves\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure_logs(LogFormat.TEXT)
    run_until_signalled(
        lambda: HangingServer(sys.argv[1]), announce, grace_s=GRACE_S, leeway_s=LEEWAY_S
    )
