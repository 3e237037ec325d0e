"""Ports to which a server can come back after a restart."""

from __future__ import annotations

import contextlib
import random
import socket

from tests.reliability.conftest import HOST

# Below those that the system hands out for connections and to whoever asks for any.
_STEADY_PORTS = range(20_000, 30_000)


def steady_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    found: list[int] = []
    for port in random.sample(_STEADY_PORTS, len(_STEADY_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports in {_STEADY_PORTS}")
