"""All workers as one: started, told what to do in step, replaced, and ended.

In: loads, and entries that say what is the case. Out: what all workers have come to. A worker
joins when it has loaded all that the others have and has been told all that they have; from then
on it is given connections, and is waited for. One that ends is replaced, whatever ended it; one
that does not answer is ended; one whose runs are stuck is replaced first and drained then.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import Counter as Tally
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigrun.errors import SigrunError, Unavailable
from sigrun.telemetry.metrics import Counter, Gauge, Reading
from sigrun.tensors.signature import Signature
from sigrun.workers import merging, process, values
from sigrun.workers.backoff import Backoff
from sigrun.workers.channel import Channel, ChannelClosed, Handler
from sigrun.workers.handover import Dispatcher, Giver
from sigrun.workers.loading import Order
from sigrun.workers.process import WorkerOptions
from sigrun.workers.rollout import Rollout, Step
from sigrun.workers.values import Plain

logger = logging.getLogger(__name__)

_START_WITHIN_S = 120.0  # for a worker to come up, on a machine that is busy
_STEP_WITHIN_S = 20.0  # for a worker to do what it is told, which needs no more than its loop
_REPORT_EVERY_S = 2.0
_REPORT_WITHIN_S = 20.0
_READINGS_WITHIN_S = 3.0
_NOTICE_WITHIN_S = 0.5
_END_OVERTIME_S = 2.2  # beyond the grace, for a worker to end by itself
_EXIT_WITHIN_S = 2.0  # for a process whose socket is closed
_MOST_FIRST_FAILURES = 3  # before any worker has come up: something is wrong with all of them


class Phase(enum.Enum):
    """Where a worker stands."""

    JOINING = enum.auto()
    SERVING = enum.auto()
    LEAVING = enum.auto()  # it is given no connections, and follows as long as it has some
    ENDED = enum.auto()


_MEMBERS = (Phase.SERVING, Phase.LEAVING)


@dataclass(eq=False, slots=True)
class Worker:
    """One worker process as the supervisor sees it."""

    number: int
    process: asyncio.subprocess.Process
    channel: Channel
    giver: Giver
    started_at: float
    ended: asyncio.Event
    loaded: set[int]
    readings: Sequence[Reading] = ()  # as they were when they were last asked for
    phase: Phase = Phase.JOINING
    reason: str = "ended"  # for its replacement

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class Fleet:
    """`count` workers, made from `options` whose number is filled in.

    `answers` has what the supervisor answers when a worker asks.
    """

    def __init__(
        self,
        options: WorkerOptions,
        count: int,
        answers: Mapping[str, Handler],
        *,
        command: Sequence[str] = process.COMMAND,
    ) -> None:
        self._options = options
        self._count = count
        self._command = command
        self._answers = {**answers, "farewell": self._hear_farewell}
        self._workers: list[Worker] = []
        self._wanted: dict[int, Order] = {}
        self._rollout: Rollout[Worker, Plain] = Rollout()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots: list[asyncio.Task[None]] = []
        self._following: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None
        self._has_been_complete = self._is_ending = False
        self._first_failures = 0
        self._replaced: Tally[str] = Tally()
        self._ended_readings: list[Reading] = []
        self._loop = asyncio.get_running_loop()
        self.dispatcher = Dispatcher(self)

    # Starting and ending.

    def start(self) -> None:
        """Start every worker, and keep their number from now on."""
        for number in range(1, self._count + 1):
            self._slots.append(self._spawn(self._keep(number), f"worker {number}"))

    async def up(self) -> None:
        """Return when every worker serves for the first time, or some of them after a while.

        Raises `Unavailable` if none does.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_WITHIN_S):
                while not self._has_been_complete and not self._has_failed:
                    await self._changed.wait()
        if not self._in(Phase.SERVING) and not self._has_been_complete:
            raise Unavailable("The workers do not start; the log has the reason")
        if not self._has_been_complete:
            logger.warning("some workers have not started yet; the others serve without them")
            self._has_been_complete = True

    async def announce_drain(self) -> None:
        """Have the workers say that they are about to stop."""
        await self._ask_all("draining", None, within_s=_NOTICE_WITHIN_S)

    def drain(self, grace_s: float) -> asyncio.Future[None]:
        """Return what ends when every worker has; they finish what they have before."""
        if self._draining is None:
            self._draining = self._spawn(self._drain(grace_s), "drain")
        return asyncio.shield(self._draining)

    async def close(self) -> None:
        """End whatever is left."""
        self._is_ending = True
        for slot in self._slots:
            slot.cancel()
        for worker in self._workers:
            worker.kill()
        if self._following:
            await asyncio.wait(self._following)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self, grace_s: float) -> None:
        self._is_ending = True
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        workers = list(self._workers)
        for worker in workers:
            if worker.phase is Phase.JOINING:
                worker.kill()
        await asyncio.gather(*(self._retire(worker, grace_s) for worker in workers))

    async def _retire(self, worker: Worker, grace_s: float) -> None:
        """Give a worker no more connections, and return when it has ended."""
        if worker.phase is Phase.SERVING:
            worker.phase = Phase.LEAVING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s + _END_OVERTIME_S):
                with contextlib.suppress(SigrunError):
                    await worker.channel.call("drain", grace_s, within_s=_STEP_WITHIN_S)
                await worker.ended.wait()
        if not worker.ended.is_set():
            logger.error("worker %d has not ended in time, and is killed", worker.number)
            worker.kill()
            await worker.ended.wait()

    # What all of them do.

    async def load(self, order: Order) -> Mapping[str, Signature]:
        """Return when every worker has loaded a version.

        Raises the error of one that cannot; then none has it. One that ends is not waited for: what
        comes in its place loads it before it joins. If all of them end, the load may be what ended
        them: it is tried once more, and not again.
        """
        await self.up()
        try:
            return await self._load_everywhere(order)
        except ChannelClosed:
            logger.warning("%s is loaded again, as all workers have ended meanwhile", order.id)
        try:
            return await self._load_everywhere(order)
        except ChannelClosed:
            raise Unavailable(f"All workers have ended twice while loading {order.id}") from None

    async def unload(self, key: int) -> None:
        """Have every worker give back what it has loaded under this key."""
        self._wanted.pop(key, None)
        await asyncio.gather(*(self._unload_from(worker, key) for worker in self._in(*_MEMBERS)))

    def tell(self, name: str, entry: Plain) -> None:
        """Say what is the case for `name`; workers that know nothing else of it are told soon."""
        if self._rollout.set(name, entry):
            self._loop.call_soon(self._push)

    async def settled(self) -> None:
        """Return when every worker does what had been told when this was called."""
        number = self._rollout.number
        while self._rollout.done < number:
            await self._changed.wait()

    async def readings(self, own: Sequence[Reading]) -> list[Reading]:
        """Return what the whole server has counted; `own` is the supervisor's part of it.

        For a worker that does not answer stands what it said last.
        """
        workers = self._in(*_MEMBERS)
        answers = await self._ask_all("readings", None, within_s=_READINGS_WITHIN_S)
        for worker, answer in answers.items():
            worker.readings = values.readings_from_plain(answer)
        now = [reading for worker in workers for reading in worker.readings]
        return merging.of_the_whole(now, self._ended_readings, [*own, *self._own_readings()])

    async def troubles(self) -> list[str]:
        """Return what is wrong with versions that are served, and in which worker."""
        answers = await self._ask_all("troubles", None, within_s=_READINGS_WITHIN_S)
        return [
            f"worker {worker.number}: {trouble}"
            for worker, troubles in answers.items()
            for trouble in troubles
        ]

    def givers(self) -> list[Giver]:
        """Return what gives connections to the workers that may have some."""
        return [worker.giver for worker in self._in(Phase.SERVING)]

    def _own_readings(self) -> Iterator[Reading]:
        yield Gauge(
            name="sigrun_workers_serving",
            help="Worker processes that take connections",
            value=len(self._in(Phase.SERVING)),
        )
        for reason in ("ended", "unresponsive", "stuck"):
            yield Counter(
                name="sigrun_workers_replaced",
                help="Worker processes that were replaced, by the reason",
                labels={"reason": reason},
                value=self._replaced[reason],
            )

    # One slot: a worker, and those that come after it.

    async def _keep(self, number: int) -> None:
        """Keep one worker serving until cancelled."""
        backoff, current = Backoff(), None
        while True:
            fresh = await self._started(number, backoff)
            if current is not None:
                self._spawn(self._retire(current, self._grace_s), f"retire worker {number}")
            current = fresh
            await self._until_unfit(current)
            self._replaced[current.reason] += 1
            await asyncio.sleep(backoff.after(self._loop.time() - current.started_at))
            if current.phase is Phase.ENDED:
                current = None

    @property
    def _grace_s(self) -> float:
        return self._options.config.shutdown_grace_s

    async def _started(self, number: int, backoff: Backoff) -> Worker:
        """Return a worker that serves; try until there is one."""
        while True:
            began_at, worker = self._loop.time(), None
            try:
                worker = await self._start(number)
                await self._bring_up(worker)
                return worker
            except (SigrunError, OSError) as error:
                logger.warning("worker %d has not come up: %s", number, error)
            except Exception:
                logger.exception("worker %d has not come up", number)
            if worker is not None:
                worker.kill()
                await worker.ended.wait()
            if not self._has_been_complete:
                self._first_failures += 1
                self._notify()
            await asyncio.sleep(backoff.after(self._loop.time() - began_at))

    @property
    def _has_failed(self) -> bool:
        return self._first_failures >= _MOST_FIRST_FAILURES

    async def _start(self, number: int) -> Worker:
        options = WorkerOptions(
            number=number,
            config=self._options.config,
            log_format=self._options.log_format,
            log_level=self._options.log_level,
        )
        begun = await process.start(options, self._command)
        channel = await Channel.over(begun.control, self._answers, peer=f"worker {number}")
        worker = Worker(
            number=number,
            process=begun.process,
            channel=channel,
            giver=Giver(begun.handover, self.dispatcher.go_on),
            started_at=self._loop.time(),
            ended=asyncio.Event(),
            loaded=set(),
        )
        self._workers.append(worker)
        following = self._spawn(self._follow(worker), f"follow worker {number}")
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return worker

    async def _bring_up(self, worker: Worker) -> None:
        """Bring a worker to where the others are, and have it join them."""
        await worker.channel.call("begin", within_s=_START_WITHIN_S)
        self._rollout.add(worker)
        while True:
            missing = [o for key, o in self._wanted.items() if key not in worker.loaded]
            surplus = worker.loaded - self._wanted.keys()
            if missing:
                await self._catch_up(worker, missing[0])
            elif (step := self._rollout.next_step(worker)) is not None:
                await self._make(worker, step)
            elif surplus:
                await self._unload_from(worker, surplus.pop())
            else:
                break
        # No one else has run since it was found to be complete.
        worker.phase = Phase.SERVING
        self._rollout.join(worker)
        if len(self._in(Phase.SERVING)) == self._count:
            self._has_been_complete = True
        logger.info("worker %d serves, as process %d", worker.number, worker.process.pid)
        self._notify()
        self.dispatcher.go_on()

    async def _catch_up(self, worker: Worker, order: Order) -> None:
        try:
            loaded = await self._load_into(worker, order)
        except SigrunError:
            if order.key in self._wanted:  # else it has failed elsewhere, too, or is not wanted
                raise
        else:
            if loaded is None:
                raise ChannelClosed(f"it has ended while it was loading {order.id}")

    async def _until_unfit(self, worker: Worker) -> None:
        """Return when a worker has ended, or does not do what it is there for."""
        while not worker.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_EVERY_S):
                    await worker.ended.wait()
                    return
            try:
                stuck = await worker.channel.call("report", within_s=_REPORT_WITHIN_S)
            except SigrunError as error:
                self._end(worker, error)
                await worker.ended.wait()
                return
            if stuck:
                logger.error("worker %d is replaced: %s", worker.number, "; ".join(stuck))
                worker.reason = "stuck"
                return

    async def _follow(self, worker: Worker) -> None:
        """Wait for the end of a worker, and let nothing be lost with it."""
        await worker.channel.run()
        was, worker.phase = worker.phase, Phase.ENDED
        self._workers.remove(worker)
        self._rollout.remove(worker)
        self._ended_readings = merging.merged(
            [*self._ended_readings, *merging.lasting(worker.readings)]
        )
        self.dispatcher.adopt(worker.giver.close())
        self._notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_WITHIN_S):
                await worker.process.wait()
        worker.kill()
        status = await worker.process.wait()
        if was is not Phase.LEAVING and not self._is_ending:
            logger.error("worker %d has ended with status %d", worker.number, status)
        worker.ended.set()

    async def _hear_farewell(self, plain: Plain) -> None:
        """Take what a worker has counted until its end."""
        for worker in self._workers:
            if worker.process.pid == plain["process"]:
                worker.readings = values.readings_from_plain(plain["readings"])

    def _end(self, worker: Worker, error: SigrunError) -> None:
        if worker.phase is not Phase.ENDED:
            logger.error("worker %d is killed: %s", worker.number, error)
            worker.reason = "unresponsive"
            worker.kill()

    # One step of one worker.

    def _push(self) -> None:
        """Tell the workers what they do not know, as far as they have done what they know."""
        for worker in self._in(*_MEMBERS):
            step = self._rollout.next_step(worker)
            if step is not None:
                self._spawn(self._make_steps(worker, step), f"tell worker {worker.number}")

    async def _make_steps(self, worker: Worker, step: Step[Plain] | None) -> None:
        with contextlib.suppress(SigrunError):
            while step is not None:
                await self._make(worker, step)
                step = self._rollout.next_step(worker)

    async def _make(self, worker: Worker, step: Step[Plain]) -> None:
        try:
            await worker.channel.call("apply", dict(step.entries), within_s=_STEP_WITHIN_S)
        except SigrunError as error:
            self._end(worker, error)
            raise
        self._rollout.confirm(worker, step)
        self._notify()

    async def _load_everywhere(self, order: Order) -> Mapping[str, Signature]:
        while not (workers := self._in(*_MEMBERS)):
            if self._draining is not None:
                raise Unavailable("The server is stopping")
            await self._changed.wait()
        self._wanted[order.key] = order
        loads = [self._spawn(self._load_into(w, order), f"load {order.id}") for w in workers]
        try:
            found = await asyncio.gather(*loads)
        except BaseException as error:
            del self._wanted[order.key]
            for load in loads:
                load.cancel()
            await asyncio.wait(loads)
            undoing = self._spawn(self.unload(order.key), f"undo load of {order.id}")
            if isinstance(error, SigrunError):
                await undoing
            raise
        signatures: Mapping[str, Signature] | None = next(
            (each for each in found if each is not None), None
        )
        if signatures is None:
            raise ChannelClosed("every worker has ended")
        return signatures

    async def _load_into(self, worker: Worker, order: Order) -> Mapping[str, Signature] | None:
        """Return the signatures; None for a worker that has ended meanwhile."""
        plain = {
            "key": order.key,
            "name": order.id.name,
            "version": order.id.version,
            "path": order.path,
        }
        try:  # the worker bounds the time that it takes
            answer = await worker.channel.call("load", plain, within_s=None)
        except ChannelClosed:
            return None
        worker.loaded.add(order.key)
        return values.signatures_from_plain(answer)

    async def _unload_from(self, worker: Worker, key: int) -> None:
        with contextlib.suppress(ChannelClosed):  # its requests may take their time
            await worker.channel.call("unload", key, within_s=None)
        worker.loaded.discard(key)

    async def _ask_all(self, name: str, value: Plain, *, within_s: float) -> dict[Worker, Plain]:
        """Return the answers of those that answer."""
        workers = self._in(*_MEMBERS)
        calls = (worker.channel.call(name, value, within_s=within_s) for worker in workers)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, BaseException):
                logger.warning("worker %d: %s", worker.number, answer)
        return {
            worker: answer
            for worker, answer in zip(workers, answers, strict=True)
            if not isinstance(answer, BaseException)
        }

    def _in(self, *phases: Phase) -> list[Worker]:
        return [worker for worker in self._workers if worker.phase in phases]

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SigrunError):  # those go to whoever waits
            logger.error("%s failed unexpectedly", task.get_name(), exc_info=error)
