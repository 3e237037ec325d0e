"""Where to listen: sockets of TCP and of the file system, bound and listening.

In: an address. Out: a socket that does not block. Nothing here knows an event loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import Any

from sigrun.errors import Unavailable

_ANY = "::"
_ANY_IPV4 = "0.0.0.0"  # noqa: S104
_IPV4_IN_IPV6 = "::ffff:"


@dataclass(frozen=True, slots=True)
class Tcp:
    """A port; 0 is any free one. The host `::` is every address, of IPv4 too."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """A path in the file system; one that `is_private` can be connected to by its owner alone."""

    path: str
    is_private: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = Tcp | Unix


def listen(address: Address, backlog: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises `Unavailable` if the address cannot be had.
    """
    try:
        if isinstance(address, Unix):
            listening = _listen_unix(address, backlog)
        else:
            listening = _listen_tcp(address.host, address.port, backlog)
            # Connections inherit it. Without it an answer may wait 40 ms for a client's receipt.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise Unavailable(f"cannot listen on {address}: {os.strerror(error.errno or 0)}") from None
    listening.setblocking(False)
    return listening


def remove(address: Unix) -> None:
    """Remove a path, so that nobody connects to it any more."""
    with contextlib.suppress(OSError):
        os.unlink(address.path)


def peer_name(address: Any) -> str:
    """Return who is at the other end, from what `accept` returned."""
    match address:
        case (host, port):
            return f"{host}:{port}"
        case (host, port, _, _):
            if host.startswith(_IPV4_IN_IPV6):
                return f"{host.removeprefix(_IPV4_IN_IPV6)}:{port}"
            return f"[{host}]:{port}"
    return "unix:"


def _listen_tcp(host: str, port: int, backlog: int) -> socket.socket:
    if host != _ANY:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                (host, port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server((_ANY_IPV4, port), backlog=backlog)


def _listen_unix(address: Unix, backlog: int) -> socket.socket:
    path = address.path
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_stale(path):
            os.unlink(path)
        listening.bind(path)
        if address.is_private:  # before it listens, so that nobody can have connected
            os.chmod(path, 0o600)
        listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening


def _is_stale(path: str) -> bool:
    """Whether a path is a socket that nobody listens at, left by a process that has died."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED
