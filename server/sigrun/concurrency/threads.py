"""Threads with bounded, fair queues before them, for work that blocks.

In: a function and its arguments, from any event loop. Out: what it returned or raised, or
at once `Unavailable` (the queue is full) or at the deadline `DeadlineExceeded`.

Who waits here can leave: a caller that is cancelled, or whose deadline passes, takes its
work out of the queue. Work that has begun cannot be stopped; it ends unobserved, and keeps
its thread until then. Where there are limits, work that goes on for too long after its caller
left is written off: another thread takes the place of its own, and its owner is told.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple

from sigrun.concurrency.fair_queue import FairQueue, Share, no_longer_than
from sigrun.errors import DeadlineExceeded, Unavailable
from sigrun.telemetry.metrics import Gauge

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)

_SPARE = 32  # threads beyond their number, for owners who would have none
_MAX_WRITTEN_OFF = 64  # calls that run on beside the others; one more keeps its place


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """For how long calls may run."""

    longest_s: float  # of a call without a deadline, from when it comes
    longest_wait_s: float = math.inf  # of such a call for a thread
    overtime_s: float  # after the deadline, or after the caller has left: then it is written off


class _Stage(enum.Enum):
    """How far a job has come."""

    WAITING = enum.auto()
    RUNNING = enum.auto()  # or on its way into a thread
    WRITTEN_OFF = enum.auto()  # runs, in a thread that counts no more
    ENDED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadsStatistics:
    """What the threads do at this moment."""

    threads: int
    running: int
    waiting: int
    written_off: int


class Threads:
    """Runs blocking calls in up to `count` threads; a context manager that closes.

    Used from event loops; its own threads are daemons, so that a call that never returns
    cannot keep the process from ending. `max_waiting` calls may wait of those that are run
    here, and as many of each `owner` as it says. With `patience_s` an owner of whom nothing
    runs waits that long before it gets a thread beyond `count`.
    """

    def __init__(
        self,
        *,
        name: str,
        count: int,
        max_waiting: int,
        limits: Limits | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._name = name
        self._count = count
        self.limits = limits
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._queue: FairQueue[_Job[Any]] = FairQueue(
            places=count, spare_places=_SPARE, patience_s=patience_s
        )
        self._ready: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._started = 0
        self._idle = 0
        self._written_off = 0
        self._is_closed = False
        self._own = self.owner(f"the {name} threads", max_waiting=max_waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def owner(
        self, name: str, *, max_waiting: int, on_write_off: Callable[[], None] | None = None
    ) -> ThreadOwner:
        """Return a share of the threads; `on_write_off` is called on its callers' event loop."""
        return ThreadOwner(self, Share(name, max_waiting), on_write_off)

    @property
    def statistics(self) -> ThreadsStatistics:
        """What the threads do at this moment."""
        with self._lock:
            return ThreadsStatistics(
                threads=len(self._threads),
                running=self._queue.running,
                waiting=self._queue.waiting,
                written_off=self._written_off,
            )

    def readings(self) -> Iterator[Gauge]:
        """Yield `statistics` as metrics."""
        now, labels = self.statistics, {"threads": self._name}
        for name, help, value in (
            ("sigrun_threads", "Threads of this kind", now.threads),
            ("sigrun_threads_running", "Work that runs in a thread", now.running),
            ("sigrun_threads_waiting", "Work that waits for a thread", now.waiting),
            (
                "sigrun_threads_written_off",
                "Work that goes on long after it was given up, beside the rest",
                now.written_off,
            ),
        ):
            yield Gauge(name=name, help=help, value=value, labels=labels)

    async def run(
        self, call: Callable[[*Ts], T], *arguments: *Ts, deadline: float | None = None
    ) -> T:
        """Return what `call(*arguments)` returns in one of the threads; see `ThreadOwner.run`."""
        return await self._own.run(call, *arguments, deadline=deadline)

    def close(self, *, grace_s: float = 0.0) -> None:
        """Refuse what waits and what comes, and wait for running work up to `grace_s`."""
        with self._lock:
            self._is_closed = True
            refused, threads = self._queue.clear(), [*self._threads]
        for job in refused:
            job.deliver(None, self._closed())
        for _ in threads:
            self._ready.put(None)
        ends_at = time.monotonic() + grace_s
        for thread in threads:
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _closed(self) -> Unavailable:
        return Unavailable(f"The {self._name} threads are closed")

    def enqueue(self, job: _Job[Any], now: float) -> None:
        """Let `job` begin or wait; for `ThreadOwner`. Raises `Unavailable`."""
        with self._lock:
            if self._is_closed:
                raise self._closed()
            if job.waits_until is None:
                self._queue.add(job.share, job, now, job.deadline)
            else:
                self._queue.add(job.share, job, now, None, longest_wait_s=job.waits_until - now)
            self._begin(now)
            is_first = job.stage is _Stage.WAITING and not job.share.running
        if is_first and self._patience_s:
            job.loop.call_later(self._patience_s, self._begin_patient)

    def leave(self, job: _Job[Any]) -> None:
        """Take `job`, for which nobody waits any more, out of the queue, or watch it run."""
        with self._lock:
            self._queue.remove(job.share, job)
        if job.stage is _Stage.RUNNING and self.limits is not None:
            job.loop.call_later(self.limits.overtime_s, self._write_off, job)

    def _begin_patient(self) -> None:
        with self._lock:
            self._begin(time.monotonic())

    def _begin(self, now: float) -> None:
        """Hand the jobs that may begin to threads that are idle or new. The lock is held."""
        while (job := self._queue.take(now)) is not None:
            job.stage = _Stage.RUNNING
            self._ready.put(job)
            if self._idle:
                self._idle -= 1
            else:
                self._start_thread()

    def _start_thread(self) -> None:
        name = f"{self._name}-{self._started}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started += 1
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        thread = threading.current_thread()
        while (job := self._ready.get()) is not None:
            while job is not None:
                job.thread, job.began_at = thread, time.monotonic()
                job = self._perform(job)
            if thread not in self._threads:
                return  # another has its place

    def _perform(self, job: _Job[Any]) -> _Job[Any] | None:
        """Make a call, and return the next one for this thread if there is one."""
        result, error = job.outcome()
        with self._lock:
            following = self._end(job)  # before the caller hears of it: the place is free by then
        job.deliver(result, error)
        del result, error  # see `ThreadOwner.run`
        return following

    def _end(self, job: _Job[Any]) -> _Job[Any] | None:
        stage, job.stage = job.stage, _Stage.ENDED
        if stage is _Stage.WRITTEN_OFF:
            job.share.written_off -= 1
            self._written_off -= 1
            return None
        now = time.monotonic()
        self._queue.end(job.share, now - job.began_at if job.was_made else None)
        following = self._queue.take(now)
        if following is None:
            self._idle += 1
        else:
            following.stage = _Stage.RUNNING
        return following

    def _write_off(self, job: _Job[Any]) -> None:
        """Let another thread take the place of the one in which `job` still runs."""
        with self._lock:
            if job.stage is not _Stage.RUNNING or job.thread is None:
                return
            if self._written_off >= _MAX_WRITTEN_OFF:
                logger.error("%s: another run does not end, and keeps its place", job.share.name)
                return
            job.stage = _Stage.WRITTEN_OFF
            self._written_off += 1
            self._queue.write_off(job.share)
            self._threads.discard(job.thread)
            self._begin(time.monotonic())
        logger.warning("%s: a run does not end, and is written off", job.share.name)
        job.owner.wrote_off()


class ThreadOwner:
    """The share of one owner in `Threads`, with a queue of its own."""

    __slots__ = ("_on_write_off", "_threads", "share")

    def __init__(
        self, threads: Threads, share: Share[_Job[Any]], on_write_off: Callable[[], None] | None
    ) -> None:
        self._threads = threads
        self.share = share
        self._on_write_off = on_write_off

    @property
    def written_off(self) -> int:
        """How many calls were written off and still run."""
        return self.share.written_off

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return len(self.share.waiting)

    def wrote_off(self) -> None:
        """Tell the owner that a call was written off; on the event loop."""
        if self._on_write_off is not None:
            self._on_write_off()

    async def run(
        self, call: Callable[[*Ts], T], *arguments: *Ts, deadline: float | None = None
    ) -> T:
        """Return what `call(*arguments)` returns in one of the threads, or raise what it raises.

        `deadline` is in `time.monotonic` seconds. Raises `Unavailable` when the queue is full,
        or too long for the deadline, or a call without one has waited for too long, or this is
        closed, `DeadlineExceeded` when the time is up before or meanwhile.
        """
        now = time.monotonic()
        limits = self._threads.limits
        waits_until = None
        if deadline is None and limits is not None:
            deadline = now + limits.longest_s
            if limits.longest_wait_s < limits.longest_s:
                waits_until = now + limits.longest_wait_s
        if deadline is not None and deadline <= now:
            raise DeadlineExceeded
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[T] = loop.create_future()
        job = _Job(functools.partial(call, *arguments), deadline, loop, reply, self)
        job.waits_until = waits_until
        self._threads.enqueue(job, now)
        job.watch(now)
        try:
            return await reply
        except BaseException:
            self._threads.leave(job)
            raise
        finally:
            job.unwatch()
            # An error knows the frames it came through and the callers of those. Where one of
            # them knows the error as well, both keep what they hold, a request and its arrays,
            # until garbage is collected. So nobody does.
            del reply


class _Job(Generic[T]):
    """One call and the caller that waits for it."""

    __slots__ = (
        "_call",
        "_reply",
        "_timer",
        "began_at",
        "deadline",
        "loop",
        "owner",
        "share",
        "stage",
        "thread",
        "waits_until",
        "was_made",
    )

    def __init__(
        self,
        call: Callable[[], T],
        deadline: float | None,
        loop: asyncio.AbstractEventLoop,
        reply: asyncio.Future[T],
        owner: ThreadOwner,
    ) -> None:
        self._call: Callable[[], T] | None = call
        self._reply: asyncio.Future[T] | None = reply
        self._timer: asyncio.TimerHandle | None = None
        self.deadline = deadline
        self.waits_until: float | None = None
        self.loop = loop
        self.owner = owner
        self.share = owner.share
        self.stage = _Stage.WAITING
        self.began_at = 0.0
        self.thread: threading.Thread | None = None
        self.was_made = False

    def outcome(self) -> tuple[T | None, BaseException | None]:
        """Make the call, unless it is too late for it; in a thread."""
        call, self._call = self._call, None  # it holds a request, and this may be kept for longer
        if call is None or self._reply is None or self._reply.done():  # the caller has left
            return None, None
        if self.deadline is not None and self.deadline <= self.began_at:
            return None, DeadlineExceeded()
        self.was_made = True
        try:
            return call(), None
        except BaseException as error:  # whatever it is, the caller waits for it
            return None, error

    def deliver(self, result: T | None, error: BaseException | None) -> None:
        """Hand the outcome to the caller's event loop; in any thread."""
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:  # the loop is closed, nobody waits
            return

    def watch(self, now: float) -> None:
        """See to it that the caller is told when the time is up; on the event loop."""
        if self.waits_until is not None and self.stage is _Stage.WAITING:
            self._timer = self.loop.call_later(self.waits_until - now, self._end_wait, now)
        elif self.deadline is not None:
            self._timer = self.loop.call_later(self.deadline - now, self._expire)

    def unwatch(self) -> None:
        """Tell the caller no more; on the event loop."""
        if self._timer is not None:
            self._timer.cancel()

    def _end_wait(self, came_at: float) -> None:
        if self.stage is _Stage.WAITING and self.waits_until is not None:
            limit = no_longer_than(self.waits_until - came_at)
            self._settle(None, Unavailable(f"The queue of {self.share.name} is too long: {limit}"))
        else:
            self.waits_until = None
            self.watch(time.monotonic())

    def _expire(self) -> None:
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
