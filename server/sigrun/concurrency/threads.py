"""A fixed number of threads with a bounded queue before them, for work that blocks.

In: a function and its arguments, from any event loop. Out: what it returned or raised, or
at once `Unavailable` (the queue is full) or at the deadline `DeadlineExceeded`.

Who waits here can leave: a caller that is cancelled, or whose deadline passes, takes its
work out of the queue. Work that has begun cannot be stopped; it ends unobserved, and keeps
its thread until then.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple

from sigrun.errors import DeadlineExceeded, Unavailable
from sigrun.telemetry.metrics import Gauge

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadsStatistics:
    """What the threads do at this moment."""

    threads: int
    running: int
    waiting: int


class Threads:
    """Runs blocking calls in threads, so many at a time; a context manager that closes.

    Used from event loops; its own threads are daemons, so that a call that never returns
    cannot keep the process from ending.
    """

    def __init__(self, *, name: str, count: int, max_waiting: int) -> None:
        self._name = name
        self._count = count
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._waiting: dict[_Job[Any], None] = {}  # in order of arrival
        self._running = 0
        self._is_closed = False
        # One token per job that was queued; a job that left its place leaves its token.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def statistics(self) -> ThreadsStatistics:
        """How much runs and waits now."""
        with self._lock:
            return ThreadsStatistics(
                threads=self._count, running=self._running, waiting=len(self._waiting)
            )

    def readings(self) -> Iterable[Gauge]:
        """Return `statistics` as metrics."""
        now, labels = self.statistics, {"threads": self._name}
        for name, help, value in (
            ("sigrun_threads", "Threads of this kind", now.threads),
            ("sigrun_threads_running", "Work that runs in a thread", now.running),
            ("sigrun_threads_waiting", "Work that waits for a thread", now.waiting),
        ):
            yield Gauge(name=name, help=help, value=value, labels=labels)

    async def run(
        self, call: Callable[[*Ts], T], *arguments: *Ts, deadline: float | None = None
    ) -> T:
        """Return what `call(*arguments)` returns in one of the threads, or raise what it raises.

        `deadline` is in `time.monotonic` seconds. Raises `Unavailable` when the queue is
        full or this is closed, `DeadlineExceeded` when the time is up before or meanwhile.
        """
        wait_s = None if deadline is None else deadline - time.monotonic()
        if wait_s is not None and wait_s <= 0:
            raise DeadlineExceeded
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[T] = loop.create_future()
        job = _Job(lambda: call(*arguments), deadline, loop, reply)
        self._enqueue(job)
        timer = None if wait_s is None else loop.call_later(wait_s, job.expire)
        try:
            return await reply
        except BaseException:
            self._withdraw(job)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            # An error knows the frames it came through and the callers of those. Where one of
            # them knows the error as well, both keep what they hold, a request and its arrays,
            # until garbage is collected. So nobody does.
            del reply

    def close(self, *, grace_s: float = 0.0) -> None:
        """Refuse what waits and what comes, and wait for running work up to `grace_s`."""
        with self._lock:
            self._is_closed = True
            refused, self._waiting = list(self._waiting), {}
        for job in refused:
            job.deliver(None, Unavailable(f"The {self._name} threads are closed"))
        for _ in self._threads:
            self._tokens.put(False)
        ends_at = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _enqueue(self, job: _Job[Any]) -> None:
        with self._lock:
            if self._is_closed:
                raise Unavailable(f"The {self._name} threads are closed")
            # Both are counted: a job that an idle thread is about to take waits for nobody.
            if self._running + len(self._waiting) >= self._count + self._max_waiting:
                raise Unavailable(
                    f"The {self._name} queue is full: {len(self._waiting)} wait for "
                    f"{self._count} threads, and no more than {self._max_waiting} may"
                )
            self._waiting[job] = None
        self._tokens.put(True)

    def _withdraw(self, job: _Job[Any]) -> None:
        with self._lock:
            self._waiting.pop(job, None)

    def _work(self) -> None:
        while self._tokens.get():
            if (job := self._take()) is not None:
                self._perform(job)
            del job  # else its arrays would live until the next one comes

    def _take(self) -> _Job[Any] | None:
        with self._lock:
            job = next(iter(self._waiting), None)
            if job is not None:
                del self._waiting[job]
                self._running += 1
            return job

    def _perform(self, job: _Job[Any]) -> None:
        result, error = job.outcome()
        with self._lock:
            self._running -= 1  # before the caller hears of it: the place is free by then
        job.deliver(result, error)
        del result, error  # see `run`


class _Job(Generic[T]):
    """One call and the caller that waits for it."""

    __slots__ = ("_call", "_deadline", "_loop", "_reply")

    def __init__(
        self,
        call: Callable[[], T],
        deadline: float | None,
        loop: asyncio.AbstractEventLoop,
        reply: asyncio.Future[T],
    ) -> None:
        self._call = call
        self._deadline = deadline
        self._loop = loop
        self._reply: asyncio.Future[T] | None = reply

    def outcome(self) -> tuple[T | None, BaseException | None]:
        """Make the call, unless it is too late for it; in a thread."""
        if self._deadline is not None and self._deadline <= time.monotonic():
            return None, DeadlineExceeded()
        try:
            return self._call(), None
        except BaseException as error:  # whatever it is, the caller waits for it
            return None, error

    def deliver(self, result: T | None, error: BaseException | None) -> None:
        """Hand the outcome to the caller's event loop; in any thread."""
        try:
            self._loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:  # the loop is closed, nobody waits
            return

    def expire(self) -> None:
        """Tell the caller that the deadline has passed; on the event loop."""
        self._settle(None, DeadlineExceeded())

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        reply, self._reply = self._reply, None
        if reply is None or reply.done():  # the caller has gone, or was told that it is too late
            return
        if error is not None:
            reply.set_exception(error)
            reply.exception()  # seen: no complaint if the caller is cancelled just now
        else:
            reply.set_result(result)  # type: ignore[arg-type]
