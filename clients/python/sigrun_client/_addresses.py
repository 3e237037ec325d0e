"""Where the servers are, and whose turn it is.

One address is left to gRPC: if its name stands for several hosts, they take turns. Several
addresses are a channel each, so that every name is looked up, verified and connected again on
its own, and here they take turns.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence

from sigrun_client._errors import InvalidInput

DEFAULT_PORT = 8500

# How gRPC begins a target that it resolves in another way than by `host:port`.
_GRPC_TARGETS = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")


def addresses(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the targets in `host:port,host:port` or a list of such; the port may be left out.

    Anything that gRPC takes as a target is taken: `dns:///name:8500`, `unix:/path`. A list
    of numeric addresses behind `ipv4:` or `ipv6:` is one target. Raises `InvalidInput` if
    there is none, and for a URL.
    """
    texts = [given] if isinstance(given, str) else list(given)
    found = [
        target.strip()
        for text in texts
        for target in ([text] if text.startswith(("ipv4:", "ipv6:")) else text.split(","))
    ]
    if not found or not all(found):
        raise InvalidInput(f"an address is `host:port`, or several with commas; given: {given!r}")
    return tuple(map(_with_port, found))


def _with_port(target: str) -> str:
    """Return a target that says its port: without one gRPC would ask 443."""
    if target.startswith(_GRPC_TARGETS):
        return target
    scheme, separator, host = target.partition("://")
    if separator:
        raise InvalidInput(
            f"an address has no `{scheme}://`: give {host!r}, with the server's gRPC port, "
            f"which is {DEFAULT_PORT} if it is left out; encryption is `Options(tls=Tls())`"
        )
    if _is_bare_ipv6(target):
        target = f"[{target}]"
    target = target.removesuffix(":")
    has_port = ":" in target.rpartition("]")[2]
    return target if has_port else f"{target}:{DEFAULT_PORT}"


def _is_bare_ipv6(target: str) -> bool:
    try:
        ipaddress.IPv6Address(target)
    except ValueError:
        return False
    return True


class Rotation:
    """Says which address an attempt goes to: each in turn, those that failed of late last.

    Times are the caller's, in seconds. Threads may share it: at worst, two of them choose alike.
    """

    def __init__(self, count: int, *, rest_s: float) -> None:
        self._count = count
        self._rest_s = rest_s
        self._turn = itertools.count()
        self._rests_until = [0.0] * count

    def __len__(self) -> int:
        return self._count

    def order(self, now: float) -> list[int]:
        """Return all addresses, by number, in the order in which a call tries them."""
        first = next(self._turn) % self._count
        turns = [*range(first, self._count), *range(first)]
        return sorted(turns, key=lambda index: self._rests_until[index] > now)

    def failed(self, index: int, now: float) -> None:
        """Note that an address did not answer: for a while it comes last."""
        self._rests_until[index] = now + self._rest_s

    def answered(self, index: int) -> None:
        """Note that an address is there."""
        self._rests_until[index] = 0.0
