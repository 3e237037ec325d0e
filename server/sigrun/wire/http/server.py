"""The HTTP port: it listens, owns its connections, and is started and stopped once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import tempfile
from pathlib import Path

from sigrun.config.server import HttpOptions, TlsOptions
from sigrun.errors import InvalidArgument, Unavailable
from sigrun.wire.http.connection import Application, Connection

_BACKLOG = 2048
_ANY_ADDRESS = "::"
_ANY_IPV4_ADDRESS = "0.0.0.0"  # noqa: S104
# How late it may be noticed that a client is too slow.
_TURN_S = 0.25
# For those who are cut off to hear of it.
_CUT_S = 1.0


class HttpServer:
    """Serves `app` on `options.port`; to be made only when that is not None."""

    def __init__(self, options: HttpOptions, app: Application) -> None:
        self._options = options
        self._app = app
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self._is_stopping = False
        self._listener: asyncio.Server | None = None
        self._turns: asyncio.TimerHandle | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises `Unavailable` if the port cannot be had, `InvalidArgument` for certificates
        that cannot be used.
        """
        tls = self._options.tls
        context = None if tls is None else await asyncio.to_thread(_context, tls)
        listener = self._listen()
        self.port = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._connect, sock=listener, ssl=context, backlog=_BACKLOG
        )
        self._turns = loop.call_later(_TURN_S, self._take_turn, loop)

    def _connect(self) -> Connection:
        return Connection(self._app, self._options, on_made=self._add, on_lost=self._forget)

    def _add(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._is_stopping:  # it was accepted just before
            connection.drain()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    def _take_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in tuple(self._connections):
            connection.give_up_if_due(now)
        self._turns = loop.call_later(_TURN_S, self._take_turn, loop)

    def _listen(self) -> socket.socket:
        host, port = self._options.host, self._options.port or 0
        try:
            listener = _bound(host, port)
        except OSError as error:
            raise Unavailable(f"HTTP cannot listen on {host}:{port}: {error.strerror}") from None
        # Connections inherit it. asyncio would set it only on sockets made with the number of
        # TCP, and without it the body of an answer may wait 40 ms for the client's receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    async def stop(self, grace_s: float) -> None:
        """Take no new requests, let those in flight finish for up to `grace_s`."""
        if self._listener is None:
            return
        self._is_stopping = True
        await _close(self._listener)
        for connection in tuple(self._connections):
            connection.drain()
        if not await self._are_all_gone(grace_s):
            for connection in tuple(self._connections):
                connection.cut()
            await self._are_all_gone(_CUT_S)
        if self._turns is not None:
            self._turns.cancel()

    async def _are_all_gone(self, limit_s: float) -> bool:
        self._all_gone.clear()
        if self._connections:
            try:
                async with asyncio.timeout(limit_s):
                    await self._all_gone.wait()
            except TimeoutError:
                return False
        return True


async def _close(listener: asyncio.Server) -> None:
    """Stop listening. A connection that has just been accepted is made first.

    asyncio loses it, socket and all, if its server is closed in the turn between.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # on Windows
        for listening in listener.sockets:
            loop.remove_reader(listening.fileno())
    for _ in range(2):
        await asyncio.sleep(0)
    listener.close()


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; `::` is every address, IPv4 too, where IPv6 is there."""
    if host != _ANY_ADDRESS:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                (host, port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server((_ANY_IPV4_ADDRESS, port), backlog=_BACKLOG)


def _context(tls: TlsOptions) -> ssl.SSLContext:
    """Return what serves these certificates. Raises `InvalidArgument` if they cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load_identity(context, tls)
        if tls.custom_ca:
            context.load_verify_locations(cadata=tls.custom_ca.decode())
        if tls.verify_client:
            if not tls.custom_ca:
                context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        raise InvalidArgument(f"HTTP cannot use its TLS settings: {error}") from None
    return context


def _load_identity(context: ssl.SSLContext, tls: TlsOptions) -> None:
    # Python reads them from files only; this one is its owner's alone, and gone at once.
    with tempfile.TemporaryDirectory(prefix="sigrun-") as folder:
        path = Path(folder) / "identity.pem"
        path.touch(mode=0o600)
        path.write_bytes(tls.server_key + b"\n" + tls.server_cert)
        context.load_cert_chain(path)
