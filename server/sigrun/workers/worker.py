"""One worker process: an ordinary model server that does what its supervisor says.

It ends when it is told to, after a drain; and when the supervisor is gone, after a short one. The
signals that stop a server are the supervisor's: a terminal and systemd send them to everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import Any

from sigrun.concurrency import event_loop
from sigrun.errors import SigrunError
from sigrun.servables.source import MakeLoader
from sigrun.server import ModelServer
from sigrun.telemetry.lifeline import end_after
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
    end_after(control.dup(), _ORPHANED_GRACE_S + _OVERTIME_S)
    event_loop.run(_run(options, control, handover, make_loader))
    flush()
    os._exit(0)  # what does not end, such as a run of TensorFlow, is nobody's any more


async def _run(
    options: WorkerOptions,
    control: socket.socket,
    handover: socket.socket,
    make_loader: MakeLoader | None,
) -> None:
    worker = _Worker(options, handover, make_loader)
    await worker.connect(control)
    await worker.run()


class _Worker:
    """A model server and the two sockets that lead it."""

    def __init__(
        self, options: WorkerOptions, handover: socket.socket, make_loader: MakeLoader | None
    ) -> None:
        self._grace_s = options.config.shutdown_grace_s
        self._taker = Taker(handover)
        self._following = Following(self._taker)
        tracer = tracer_from_environment(service="sigrun")
        self._server = ModelServer(options.config, make_loader, tracer=tracer, part=self._following)
        self._drain_within: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def connect(self, control: socket.socket) -> None:
        """Answer the supervisor at this socket."""
        handlers = {
            **self._following.handlers(),
            "drain": self._drain,
            "draining": self._draining,
            "report": self._report,
            "troubles": self._troubles,
            "readings": self._readings,
        }
        self._channel = await Channel.over(control, handlers, peer="the supervisor")
        self._following.connect(self._channel)

    async def run(self) -> None:
        """Serve until the supervisor says that this is the end, or is gone."""
        led = asyncio.create_task(self._channel.run(), name="supervisor")
        starting = asyncio.create_task(self._server.start(), name="start")
        ends: list[asyncio.Future[Any]] = [led, self._drain_within]
        await asyncio.wait([*ends, starting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and (error := starting.exception()) is not None:
            logger.error("this worker cannot start: %s", error)
            return
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()  # which stops what has been started
            await asyncio.wait([starting])
            return
        await self._stop()
        self._channel.close()

    async def _stop(self) -> None:
        """Drain; tell the supervisor what was counted by the end."""
        if self._drain_within.done():
            grace_s = self._drain_within.result()
        else:
            logger.error("the supervisor has ended, and so does this worker")
            grace_s = min(_ORPHANED_GRACE_S, self._grace_s)
        self._taker.take_all()
        await self._server.stop(grace_s)
        self._taker.close()
        with contextlib.suppress(SigrunError):
            last = {"process": os.getpid(), "readings": await self._readings(None)}
            await self._channel.call("farewell", last, within_s=_FAREWELL_WITHIN_S)

    # What the supervisor says and asks.

    async def _drain(self, grace_s: Plain) -> None:
        if not self._drain_within.done():
            self._drain_within.set_result(grace_s)

    async def _draining(self, _: Plain) -> None:
        self._server.readiness.draining()

    async def _report(self, _: Plain) -> Plain:
        """Answer what is wrong with this process that only another one can mend."""
        return [f"{id}: {refusal}" for id, refusal in self._server.running.refusals().items()]

    async def _troubles(self, _: Plain) -> Plain:
        """Answer what is wrong with versions here, be it as bad as that or not."""
        return [f"{id}: {trouble}" for id, trouble in self._server.running.troubles().items()]

    async def _readings(self, _: Plain) -> Plain:
        return values.readings_to_plain(await self._following.metrics.readings())
