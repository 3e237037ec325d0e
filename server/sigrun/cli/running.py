"""Run a server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from collections.abc import Callable
from typing import Protocol, TypeVar

from sigrun.cli.watchdog import end_within
from sigrun.concurrency import event_loop
from sigrun.telemetry.logs import flush

logger = logging.getLogger(__name__)

# A wrapper and a terminal often send one wish to stop as two signals.
_SAME_SIGNAL_S = 1.0

# After the grace time, for what does not belong to requests: models to unload, threads to end.
_LEEWAY_S = 5.0


class Server(Protocol):
    """What can be run: `start` once, then `stop`, on one event loop."""

    async def start(self) -> None:
        """Return when it serves. Raises a `SigrunError`, with everything stopped again."""

    async def stop(self, grace_s: float) -> None:
        """Drain for up to `grace_s` seconds, then give everything back."""

    def reread(self) -> None:
        """Read the files of the configuration again soon, if there are any to follow."""


S = TypeVar("S", bound=Server)


def run_until_signalled(
    make: Callable[[], S],
    announce: Callable[[S], None],
    *,
    grace_s: float,
    leeway_s: float = _LEEWAY_S,
) -> None:
    """Start what `make` returns, `announce` it, wait for SIGTERM, SIGINT or SIGQUIT, drain.

    SIGHUP has it read its configuration again; SIGUSR1 and SIGUSR2 are ignored. The process ends
    within `grace_s` + `leeway_s` of the first signal, whatever hangs.

    Raises what starting raises.
    """
    event_loop.run(_run(make, announce, grace_s, leeway_s))


async def _run(
    make: Callable[[], S], announce: Callable[[S], None], grace_s: float, leeway_s: float
) -> None:
    stop = _stop_signal(grace_s + leeway_s)
    server = make()
    _follow_other_signals(server)
    starting = asyncio.create_task(server.start(), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return
    await starting
    announce(server)
    await stopping
    logger.info("draining, for up to %g s", grace_s)
    await server.stop(grace_s)
    logger.info("stopped")


def _stop_signal(ends_within_s: float) -> asyncio.Event:
    """Return an event that the first signal sets; one that comes later ends the process.

    The process ends `ends_within_s` after the first one in any case.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    is_impatient_at = math.inf

    def on_signal(number: int) -> None:
        nonlocal is_impatient_at
        if not stop.is_set():
            is_impatient_at = loop.time() + _SAME_SIGNAL_S
            stop.set()
            end_within(ends_within_s, loop)
        elif loop.time() >= is_impatient_at:
            logger.warning("stopping at once, requests in flight are lost")
            flush()
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _follow_other_signals(server: Server) -> None:
    """Take the signals that would end the process otherwise, without a drain."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reread)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
