"""Where the servers are, and whose turn it is.

One address is left to gRPC: if its name stands for several hosts, they take turns. Several
addresses are a channel each, so that every name is looked up, verified and connected again on
its own, and here they take turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sigrun_client._errors import InvalidInput


def addresses(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the targets in `host:port,host:port` or a list of such.

    Anything that gRPC takes as a target is taken: `dns:///name:8500`, `unix:/path`. A list
    of numeric addresses behind `ipv4:` or `ipv6:` is one target. Raises `InvalidInput` if
    there is none.
    """
    texts = [given] if isinstance(given, str) else list(given)
    found = [
        target.strip()
        for text in texts
        for target in ([text] if text.startswith(("ipv4:", "ipv6:")) else text.split(","))
    ]
    if not found or not all(found):
        raise InvalidInput(f"an address is `host:port`, or several with commas; given: {given!r}")
    return tuple(found)


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
