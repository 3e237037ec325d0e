"""Accept connections in portions, and leave them in the backlog where no descriptor is free.

To try again at once would be a loop that keeps the CPU busy; and so would a line in the log for
each attempt.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sigrun.telemetry.metrics import Counter
from sigrun.telemetry.notices import Notice

logger = logging.getLogger(__name__)

_AT_ONCE = 32
_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def _always() -> bool:
    return True


class Acceptor:
    """Accepts at sockets that listen.

    `begin` is given each connection with the address of its other side, `pause` is called when
    nothing can be accepted for a while, and `has_room` says whether one more may be.
    """

    def __init__(
        self,
        begin: Callable[[socket.socket, socket.socket, Any], None],
        pause: Callable[[], None],
        *,
        has_room: Callable[[], bool] = _always,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._pause = pause
        self._has_room = has_room
        self._starved = Notice(logger, "connections have to wait: %s", clock=clock)
        self._failed = Notice(logger, "a connection cannot be accepted: %s", clock=clock)

    @property
    def starved(self) -> int:
        """How often there was no descriptor, or no memory, for a connection."""
        return self._starved.count

    def accept_some(self, listening: socket.socket) -> bool:
        """Accept what waits, up to some; return whether there may be more."""
        for _ in range(_AT_ONCE):
            if not self._has_room():
                return False
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionError:  # it has left already
                continue
            except OSError as error:
                notice = self._starved if error.errno in _NO_RESOURCES else self._failed
                notice.give(error.strerror or error)
                self._pause()
                return False
            self._begin(listening, accepted, address)
        return True


def readings(acceptors: Iterable[Acceptor]) -> Iterator[Counter]:
    """Return what keeps a process from accepting, as metrics."""
    yield Counter(
        name="sigrun_accept_pauses",
        help="Times when connections had to wait, as no descriptor was free",
        value=sum(acceptor.starved for acceptor in acceptors),
    )
