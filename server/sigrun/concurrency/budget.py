"""What may be in flight in the whole process: bytes of requests and answers, and requests.

In: what begins, grows and ends. Out: whether there is room for it, and numbers for metrics.
Nobody waits for room here: what finds none is refused at once, and may be sent again.

The event loop and the threads that inflate bodies both draw on it. Each has a counter of its
own, so that the loop, where requests begin, takes no lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

from sigrun.errors import Cancelled, ResourceExhausted
from sigrun.telemetry.metrics import Counter, Gauge

UNLIMITED = 1 << 62


class Full(ResourceExhausted):
    """The process has no room for a request now; it is as good as any other, and may come again."""


class Budget:
    """The room of a process. Only `Growth` is for threads; all else is for the event loop.

    A limit of 0 is none. `held_bytes` and `requests` are counted by whoever holds them: on the
    path of every request, an addition is cheap and a call is not.
    """

    __slots__ = (
        "_grown_bytes",
        "_lock",
        "held_bytes",
        "max_bytes",
        "max_requests",
        "refused",
        "requests",
    )

    def __init__(self, max_bytes: int = 0, max_requests: int = 0) -> None:
        self.max_bytes = max_bytes or UNLIMITED
        self.max_requests = max_requests or UNLIMITED
        self.held_bytes = 0  # of bodies and of answers that are not sent
        self.requests = 0
        self.refused = 0
        self._grown_bytes = 0  # guarded by the lock
        self._lock = threading.Lock()

    @property
    def in_flight_bytes(self) -> int:
        """How many bytes are held, by the loop and by threads."""
        return self.held_bytes + self._grown_bytes

    @property
    def is_full(self) -> bool:
        """Whether there is no room for further bytes."""
        return self.held_bytes + self._grown_bytes > self.max_bytes

    def fullness(self) -> str:
        """Return what a caller is told who finds no room: what is full, and how full."""
        if self.requests >= self.max_requests:
            return (
                f"The server is full: {self.requests} requests are in flight, of "
                f"{self.max_requests} (--max_concurrent_requests)"
            )
        return (
            f"The server is full: {self.in_flight_bytes} bytes are in flight, of "
            f"{self.max_bytes} (--max_in_flight_bytes)"
        )

    @contextlib.contextmanager
    def holding(self, body_bytes: int) -> Iterator[None]:
        """Count a request whose whole body is there, as long as it is answered.

        For transports that count nothing themselves. Raises `Full` if there is no room.
        """
        self.held_bytes += body_bytes
        try:
            if self.is_full or self.requests >= self.max_requests:
                self.refused += 1
                raise Full(self.fullness())
            self.requests += 1
            try:
                yield
            finally:
                self.requests -= 1
        finally:
            self.held_bytes -= body_bytes

    def readings(self) -> Iterable[Gauge | Counter]:
        """Return what is in flight, as metrics."""
        for name, what, value, limit in (
            ("bytes", "Bytes of requests and answers", self.in_flight_bytes, self.max_bytes),
            ("requests", "Requests that wait for something", self.requests, self.max_requests),
        ):
            yield Gauge(name=f"sigrun_in_flight_{name}", help=f"{what} in flight", value=value)
            if limit != UNLIMITED:
                yield Gauge(
                    name=f"sigrun_in_flight_{name}_limit",
                    help=f"{what} that may be in flight",
                    value=limit,
                )
        yield Counter(
            name="sigrun_in_flight_refusals",
            help="Requests that were refused for lack of room",
            value=self.refused,
        )


def unbounded() -> Growth:
    """Return a growth that no budget limits."""
    return Growth(Budget())


class Growth:
    """What the body of one request becomes in a thread. It ends with the request."""

    __slots__ = ("_budget", "_bytes", "_is_over")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0
        self._is_over = False

    def add(self, size: int) -> None:
        """Take room for so many bytes more; from any thread.

        Raises `Full` if there is none, `Cancelled` if the request is over meanwhile.
        """
        budget = self._budget
        with budget._lock:
            if self._is_over:
                raise Cancelled("The request is over")
            if budget.in_flight_bytes + size > budget.max_bytes:
                budget.refused += 1
                raise Full(budget.fullness())
            budget._grown_bytes += size
            self._bytes += size

    def end(self) -> None:
        """Give all of it back, for good."""
        self._is_over = True
        self.give_back()

    def give_back(self) -> None:
        """Give back what was taken until now."""
        with self._budget._lock:
            self._budget._grown_bytes -= self._bytes
            self._bytes = 0
