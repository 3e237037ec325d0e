"""The HTTP port: uvicorn in the server's own event loop, started once, stopped once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from sigrun.config.server import HttpOptions
from sigrun.errors import Unavailable
from sigrun.wire.http.app import HttpApp

_BACKLOG = 2048


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the whole server."""
        yield


class HttpServer:
    """Serves `app` on `options.port`; to be made only when that is not None."""

    def __init__(self, options: HttpOptions, app: HttpApp) -> None:
        self._options = options
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Listen and serve. Raises `Unavailable` if the port cannot be had."""
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._uvicorn.serve([listener]), name="http")

    def _listen(self) -> socket.socket:
        address = (self._options.host, self._options.port or 0)
        try:
            listener = socket.create_server(address, backlog=_BACKLOG)
        except OSError as error:
            host, port = address
            raise Unavailable(f"HTTP cannot listen on {host}:{port}: {error.strerror}") from None
        # Connections inherit it. asyncio would set it only on sockets made with the number of
        # TCP, and without it the body of an answer may wait 40 ms for the client's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    async def stop(self, grace_s: float) -> None:
        """Take no new requests, let those in flight finish for up to `grace_s`."""
        if self._serving is None:
            return
        self._uvicorn.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]
        self._uvicorn.should_exit = True
        await self._serving
