"""Run the requests for one set of tensors in batches, and give each caller its answer.

In: the arrays of one request, from its caller's coroutine. Out: its outputs, as if it had
been alone. Deciding is in `queue`, arrays are in `batch`; here is the waiting.

A request that is a batch by itself is run by its own caller, with its own arrays: no task, no
copy. One that gains nothing by company, or has had none for a while, does not even wait for it.
A batch of several is run by a task, which outlives any of the callers; it is cancelled when the
last of them has gone.

When a batch of several fails, its halves are run again, and theirs, until it is known whose fault
it was: 2n - 1 runs at most for n requests, and one request of many is found in a few. What would
not help (a full queue, a deadline that passed) is not tried. Where the outputs cannot be divided,
the requests run one by one from then on.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence

from sigrun.batching.batch import (
    IndivisibleOutputs,
    assemble,
    check_outputs,
    form_of,
    join,
    rows_of,
    split,
)
from sigrun.batching.cost_model import RunTimes
from sigrun.batching.queue import Batch, BatchQueue, Pending, share_out
from sigrun.batching.runners import BatchRunners
from sigrun.batching.statistics import BatchRecorder
from sigrun.concurrency.companions import Company
from sigrun.config.batching import BatchingOptions
from sigrun.errors import Code, DeadlineExceeded, SigrunError, Unavailable, error_for
from sigrun.servables.servable import Servable
from sigrun.tensors.signature import Array, Signature

logger = logging.getLogger(__name__)


# Errors that say nothing about the requests.
_NOT_RETRIED = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)

_LARGE_BYTES = 4 << 20  # copying more than this would hold up the event loop for a millisecond


class BatchScheduler:
    """Batches one signature, or what has its tensors, of one loaded version.

    `input_names` and `output_names` are the tensors, each once: the order of the arrays that
    `run` takes and returns.
    """

    def __init__(
        self,
        servable: Servable,
        signature: Signature,
        outputs: Sequence[str],
        *,
        options: BatchingOptions,
        runners: BatchRunners,
        recorder: BatchRecorder,
    ) -> None:
        self._servable = servable
        self._signature = signature
        names = [spec.name for spec in signature.inputs.values()]
        self.input_names = tuple(dict.fromkeys(names))
        self._feeds = [
            (alias, self.input_names.index(spec.name)) for alias, spec in signature.inputs.items()
        ]
        aliases = {signature.outputs[alias].name: alias for alias in outputs}
        self.output_names = tuple(aliases)
        self._outputs = tuple(aliases.values())
        self._options = options
        self._runners = runners
        self._recorder = recorder
        self._queue: BatchQueue[_Reply] = BatchQueue(options)
        self._times = RunTimes()
        self._company = Company()
        self._due: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0
        self._drained: asyncio.Event | None = None
        recorder.watch(self._queue)

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for a runner, or for company."""
        return bool(self._queue)

    async def run(self, arrays: Sequence[Array], *, deadline: float | None) -> Sequence[Array]:
        """Return the outputs for `arrays`. Raises what `Servable.run` does.

        Also raises `InvalidArgument` for arrays without a common first dimension, or with more
        rows than are served, and `FailedPrecondition` for outputs without it.
        """
        rows = rows_of(arrays)
        if not rows:  # there is nothing to share, nor a row to pad with
            return await self._servable.run(
                self._signature, self._inputs(arrays), self._outputs, deadline=deadline
            )
        now = self._runners.clock()
        if deadline is not None and deadline <= now:
            raise DeadlineExceeded
        if self._runs_at_once(rows) and self._runners.take():
            return await self._run_at_once(arrays, rows, deadline)
        reply = _Reply(asyncio.get_running_loop().create_future(), rows)
        pending = Pending(
            arrays,
            rows=rows,
            form=form_of(arrays, pad=self._options.pad_variable_length_inputs),
            enqueued_at=now,
            deadline=deadline,
            reply=reply,
        )
        self._enqueue(pending)
        try:
            outputs = await reply.future
        except (asyncio.CancelledError, GeneratorExit):
            self._abandon(pending)
            raise
        finally:
            if reply.expiry is not None:
                reply.expiry.cancel()
        return outputs if outputs is not None else await self._run_alone(pending)

    def start_batches(self, now: float, runners: int) -> int:
        """Start the next batch if it is time, on up to `runners`; return how many it takes."""
        batch = self._take(now)
        if not batch:
            self._call_when_due(now)
            return 0
        shares = self._shares(batch, runners)
        for share in shares:
            self._start(share)
        return len(shares)

    async def drain(self) -> None:
        """Return when nothing waits or runs. Nothing may be added by then."""
        if self._running or self._queue:
            self._drained = asyncio.Event()
            await self._drained.wait()

    def _runs_at_once(self, rows: int) -> bool:
        """Tell whether a request is better off by itself: nobody else is about, or it is short."""
        options = self._options
        return (
            not self._queue
            and not options.batch_timeout_s
            and rows <= options.max_batch_rows
            and options.processed_rows(rows) == rows
            and (self._times.is_short(rows) or not self._company.is_likely())
        )

    async def _run_at_once(
        self, arrays: Sequence[Array], rows: int, deadline: float | None
    ) -> Sequence[Array]:
        self._running += 1
        self._recorder.request(rows)
        self._recorder.waits((0.0,))
        try:
            return await self._compute(arrays, rows, rows, deadline)
        finally:
            self._end_batch()

    def _enqueue(self, pending: Pending[_Reply]) -> None:
        try:
            self._queue.add(pending)
        except Unavailable:
            self._add_after_dispatch(pending)
        self._recorder.request(pending.rows)
        self._runners.call(self)
        if pending.deadline is not None:
            # Seldom needed: most have left with a runner of their own by then.
            self._runners.after_dispatch(functools.partial(self._limit_wait, pending))

    def _add_after_dispatch(self, pending: Pending[_Reply]) -> None:
        """Add to a full queue what fits when idle runners have taken what waits for nobody."""
        self._runners.dispatch()
        try:
            self._queue.add(pending)
        except Unavailable:
            self._recorder.refused_requests += 1
            raise

    def _limit_wait(self, pending: Pending[_Reply]) -> None:
        """See to it that the caller is answered when its deadline passes."""
        reply = pending.reply
        if pending.deadline is not None and not reply.future.done():
            wait_s = pending.deadline - self._runners.clock()
            reply.expiry = asyncio.get_running_loop().call_later(wait_s, self._expire, pending)

    def _expire(self, pending: Pending[_Reply]) -> None:
        if not pending.reply.future.done():
            pending.reply.future.set_exception(DeadlineExceeded())
            self._abandon(pending)

    def _abandon(self, pending: Pending[_Reply]) -> None:
        """Give up a request whose caller does not wait for the answer any more."""
        self._recorder.given_up_requests += 1
        self._queue.remove(pending)
        for batch in pending.reply.batches:
            batch.leave()
        if pending.reply.was_told_to_run():
            self._end_batch()
        self._tell_if_drained()

    def _take(self, now: float) -> Batch[_Reply]:
        """Return the next batch, of callers who are still there; empty if it is not time."""
        while self._queue:
            batch, expired = self._queue.take(now)
            for pending in expired:
                self._expire(pending)
            if wanted := _still_wanted(batch):
                self._company.came(len(wanted))
                self._recorder.waits([now - pending.enqueued_at for pending in wanted])
                return wanted
            if not batch and not expired:
                break
        return []

    def _call_when_due(self, now: float) -> None:
        due_at = self._queue.due_at()
        if due_at is not None and self._due is None:
            self._due = asyncio.get_running_loop().call_later(due_at - now, self._call_runners)

    def _call_runners(self) -> None:
        self._due = None
        self._runners.call(self)

    def _shares(self, batch: Batch[_Reply], runners: int) -> list[Batch[_Reply]]:
        """Divide a batch among runners that have nothing to do, if its rows are worth it."""
        is_whole = len(batch) == 1 and not self._options.enable_large_batch_splitting
        if runners < 2 or is_whole:
            return [batch]
        rows = sum(pending.rows for pending in batch)
        all_rows = rows + self._queue.rows
        count = min(runners, self._times.worthwhile_shares(all_rows))
        share_rows = -(-all_rows // count)
        if rows <= share_rows:
            return [batch]
        shares = share_out(batch, share_rows, self._options)
        self._recorder.shared_batches += len(shares) > 1
        return shares

    def _start(self, batch: Batch[_Reply]) -> None:
        self._running += 1
        first = batch[0]
        if len(batch) == 1 and first.rows == first.reply.rows:
            first.reply.future.set_result(None)
            return
        running = _RunningBatch(len(batch))
        for pending in batch:
            if pending.rows < pending.reply.rows and not pending.reply.batches:
                self._recorder.split_requests += 1
            pending.reply.batches = (*pending.reply.batches, running)
        task = asyncio.create_task(
            self._run_batch(batch), name=f"batch of {len(batch)} for {self._signature.name}"
        )
        running.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end_batch(self) -> None:
        self._running -= 1
        self._runners.release()
        self._tell_if_drained()

    def _tell_if_drained(self) -> None:
        if self._drained is not None and not self._running and not self._queue:
            self._drained.set()

    async def _run_alone(self, pending: Pending[_Reply]) -> Sequence[Array]:
        """Run a request that is a batch by itself, in its caller's coroutine."""
        try:
            if self._options.processed_rows(pending.rows) == pending.rows:
                return await self._compute(
                    pending.arrays, pending.rows, pending.rows, pending.deadline
                )
            (outputs,) = await self._run([pending])
            return outputs
        finally:
            self._end_batch()

    async def _run_batch(self, batch: Batch[_Reply]) -> None:
        try:
            await self._run_and_answer(batch)
        except BaseException:
            _fail(batch, Unavailable("The server stops"))  # or nobody is left to be told
            raise
        finally:
            self._end_batch()

    async def _run_and_answer(self, batch: Batch[_Reply]) -> None:
        batch = _still_wanted(batch)
        if not batch:
            return
        try:
            shares = await self._run(batch)
        except Exception as error:
            await self._retry_or_fail(batch, error)
            return
        for pending, outputs in zip(batch, shares, strict=True):
            pending.reply.deliver(pending, outputs)

    async def _retry_or_fail(self, batch: Batch[_Reply], error: Exception) -> None:
        if len(batch) == 1 or (isinstance(error, SigrunError) and error.code in _NOT_RETRIED):
            _fail(batch, error)
            return
        self._recorder.retried_batches += 1
        batch = _still_wanted(batch)
        if isinstance(error, IndivisibleOutputs):
            self._stop_merging(error)
            parts = [[pending] for pending in batch]
        else:
            middle = len(batch) // 2
            parts = [batch[:middle], batch[middle:]]
        for part in parts:
            await self._run_and_answer(part)

    def _stop_merging(self, error: IndivisibleOutputs) -> None:
        if self._queue.merges:
            self._queue.merges = False
            logger.warning("signature %s is not batched any more: %s", self._signature.name, error)

    async def _run(self, batch: Batch[_Reply]) -> list[list[Array]]:
        """Run a batch, put together and padded, and return the outputs of each request."""
        sizes = [pending.rows for pending in batch]
        rows = sum(sizes)
        processed_rows = self._options.processed_rows(rows)
        arrays = await _assembled(batch, processed_rows)
        outputs = await self._compute(arrays, rows, processed_rows, _latest_deadline(batch))
        return split(outputs, sizes)

    async def _compute(
        self, arrays: Sequence[Array], rows: int, processed_rows: int, deadline: float | None
    ) -> Sequence[Array]:
        """Return the outputs of one run, checked; `rows` of its rows are somebody's."""
        clock = self._runners.clock
        self._recorder.run(rows, processed_rows)
        started_at = clock()
        outputs = await self._servable.run(
            self._signature, self._inputs(arrays), self._outputs, deadline=deadline
        )
        self._times.add(processed_rows, clock() - started_at)
        check_outputs(outputs, rows=processed_rows)
        return outputs

    def _inputs(self, arrays: Sequence[Array]) -> dict[str, Array]:
        return {alias: arrays[index] for alias, index in self._feeds}


class _RunningBatch:
    """Cancels a batch of several when the last caller has gone."""

    __slots__ = ("_callers", "task")

    def __init__(self, callers: int) -> None:
        self._callers = callers
        self.task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        self._callers -= 1
        if not self._callers and self.task is not None:
            self.task.cancel()


class _Reply:
    """Where the answer to one request goes, whole or in pieces."""

    __slots__ = ("_answered_rows", "_pieces", "batches", "expiry", "future", "rows")

    def __init__(self, future: asyncio.Future[Sequence[Array] | None], rows: int) -> None:
        self.future = future  # None: the caller is to run the request itself
        self.rows = rows
        self.expiry: asyncio.TimerHandle | None = None
        self.batches: tuple[_RunningBatch, ...] = ()
        self._answered_rows = 0
        self._pieces: dict[int, Sequence[Array]] = {}

    def was_told_to_run(self) -> bool:
        """Tell whether the caller has a runner that it did not come to use."""
        future = self.future
        if not future.done() or future.cancelled() or future.exception() is not None:
            return False
        return future.result() is None

    def deliver(self, pending: Pending[_Reply], outputs: Sequence[Array]) -> None:
        """Answer the caller, if all is there and it still waits."""
        if self.future.done():
            return
        if pending.rows == self.rows:
            self.future.set_result(outputs)
            return
        self._pieces[pending.first_row] = outputs
        self._answered_rows += pending.rows
        if self._answered_rows == self.rows:
            pieces = [outputs for _, outputs in sorted(self._pieces.items(), key=_first_row)]
            self.future.set_result(join(pieces))


def _first_row(piece: tuple[int, Sequence[Array]]) -> int:
    return piece[0]


def _still_wanted(batch: Batch[_Reply]) -> Batch[_Reply]:
    return [pending for pending in batch if not pending.reply.future.done()]


def _fail(batch: Batch[_Reply], error: Exception) -> None:
    """Tell every caller that still waits; several get errors of their own."""
    for pending in batch:
        if not pending.reply.future.done():
            if len(batch) > 1 and isinstance(error, SigrunError):
                # One error raised in many places would collect all their tracebacks.
                pending.reply.future.set_exception(error_for(error.code, str(error)))
            else:
                pending.reply.future.set_exception(error)


def _latest_deadline(batch: Batch[_Reply]) -> float | None:
    """Return when the last caller gives up; None if one never does."""
    latest = 0.0
    for pending in batch:
        if pending.deadline is None:
            return None
        latest = max(latest, pending.deadline)
    return latest


async def _assembled(batch: Batch[_Reply], rows: int) -> list[Array]:
    requests = [pending.arrays for pending in batch]
    row_bytes = sum(array.nbytes for array in requests[0]) / batch[0].rows
    if row_bytes * rows > _LARGE_BYTES:
        return await asyncio.to_thread(assemble, requests, rows=rows)
    return assemble(requests, rows=rows)
