"""One worker process: an ordinary model server that does what its supervisor says.

It ends when it is told to, after a drain; and when the supervisor is gone, after a short one. The
signals that stop a server are the supervisor's: a terminal and systemd send them to everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import Any

from sigrun.concurrency import event_loop
from sigrun.errors import SigrunError
from sigrun.servables.source import MakeLoader
from sigrun.server import ModelServer
from sigrun.telemetry.logs import configure_logs, flush
from sigrun.telemetry.tracing import tracer_from_environment
from sigrun.workers import process, values
from sigrun.workers.channel import Channel
from sigrun.workers.following import Following
from sigrun.workers.handover import Taker
from sigrun.workers.process import WorkerOptions
from sigrun.workers.values import Plain

logger = logging.getLogger(__name__)

_ORPHANED_GRACE_S = 5.0  # the ports are closed, and nobody would replace this worker
_OVERTIME_S = 5.0
_FAREWELL_WITHIN_S = 1.0
_IGNORED = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")


def main(make_loader: MakeLoader | None = None) -> None:
    """Run the worker whose sockets are the descriptors on the command line.

    `make_loader` is for tests that need no TensorFlow.
    """
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    control, handover = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    options = process.load(sys.stdin.buffer)
    configure_logs(options.log_format, options.log_level, worker=options.number)
    _end_without_supervisor(control.dup())
    event_loop.run(_run(options, control, handover, make_loader))
    flush()
    os._exit(0)  # what does not end, such as a run of TensorFlow, is nobody's any more


async def _run(
    options: WorkerOptions,
    control: socket.socket,
    handover: socket.socket,
    make_loader: MakeLoader | None,
) -> None:
    taker = Taker(handover)
    following = Following(taker)
    tracer = tracer_from_environment(service="sigrun")
    server = ModelServer(options.config, make_loader, tracer=tracer, part=following)
    told: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def drain(grace_s: Plain) -> None:
        if not told.done():
            told.set_result(grace_s)

    async def draining(_: Plain) -> None:
        server.readiness.draining()

    async def report(_: Plain) -> Plain:
        """Answer what is wrong with this process that only another one can mend."""
        return [f"{id}: {refusal}" for id, refusal in server.running.refusals().items()]

    async def troubles(_: Plain) -> Plain:
        """Answer what is wrong with versions here, be it as bad as that or not."""
        return [f"{id}: {trouble}" for id, trouble in server.running.troubles().items()]

    async def readings(_: Plain) -> Plain:
        return values.readings_to_plain(await following.metrics.readings())

    handlers = {
        **following.handlers(),
        "drain": drain,
        "draining": draining,
        "report": report,
        "troubles": troubles,
        "readings": readings,
    }
    channel = await Channel.over(control, handlers, peer="the supervisor")
    following.connect(channel)
    following_on = asyncio.create_task(channel.run(), name="supervisor")
    starting = asyncio.create_task(server.start(), name="start")
    ends: list[asyncio.Future[Any]] = [following_on, told]
    await asyncio.wait([*ends, starting], return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and not starting.cancelled() and starting.exception() is not None:
        logger.error("this worker cannot start: %s", starting.exception())
        return
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()  # which stops what has been started
        await asyncio.wait([starting])
        return
    if not told.done():
        logger.error("the supervisor has ended, and so does this worker")
    grace_s = min(_ORPHANED_GRACE_S, options.config.shutdown_grace_s)
    taker.take_all()
    await server.stop(told.result() if told.done() else grace_s)
    taker.close()
    with contextlib.suppress(SigrunError):
        last = {"process": os.getpid(), "readings": await readings(None)}
        await channel.call("farewell", last, within_s=_FAREWELL_WITHIN_S)
    channel.close()


def _end_without_supervisor(control: socket.socket) -> None:
    """End the process some time after the supervisor, even if its event loop is stuck."""

    def wait() -> None:
        hung_up = select.poll()
        hung_up.register(control, 0)  # nothing but the end of the other side
        hung_up.poll()
        time.sleep(_ORPHANED_GRACE_S + _OVERTIME_S)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
