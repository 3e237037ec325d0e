"""Run the requests for one set of tensors in batches, and give each caller its answer.

In: the inputs of one request, from its caller's coroutine. Out: its outputs, as if it had been
alone. Deciding is in `queue`, `merging` and `fairness`, running in `runs` and `batch_tasks`; here
is the waiting.

A request goes one of four ways:

1. Straight to the model, where that costs less than to look whether anybody else is about
   (see `bypass`), or less than a place in the queue. One in some is timed. Now and then some go
   so to find out whether it is (see `lessons`).
2. At once, by its caller, with its own arrays: no task, no future, no copy. So goes one that gains
   nothing from others, or has met none for a while, if a runner is free.
3. Through the queue, and then by its caller as well, if it is a batch by itself when it leaves.
4. Through the queue, and then in a batch of several, which a task runs.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from sigrun.batching.batch_tasks import FOR_BATCH, BatchTasks, still_wanted
from sigrun.batching.bypass import Bypass
from sigrun.batching.companions import CompanionEstimate
from sigrun.batching.lessons import Lessons
from sigrun.batching.pending import Batch, Pending
from sigrun.batching.queue import BatchQueue, share_out
from sigrun.batching.reply import Reply, ReplyState
from sigrun.batching.runners import BatchRunners, ModelShare
from sigrun.batching.runs import Route, Runs
from sigrun.batching.statistics import BatchRecorder
from sigrun.concurrency.fair_queue import no_longer_than
from sigrun.config.batching import BatchingOptions
from sigrun.errors import DeadlineExceeded, SigrunError, Unavailable
from sigrun.tensors.signature import Array

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_RUN_YOURSELF: Final = ReplyState.RUN_YOURSELF


class BatchScheduler:
    """Batches what feeds and fetches one set of tensors of one loaded version."""

    def __init__(
        self,
        runs: Runs,
        *,
        options: BatchingOptions,
        runners: BatchRunners,
        share: ModelShare,
        recorder: BatchRecorder,
    ) -> None:
        self.runs = runs
        self.share = share
        self._options = options
        self._runners = runners
        self._recorder = recorder
        self._queue: BatchQueue[Reply] = BatchQueue(options)
        self._companions = CompanionEstimate()
        self._bypass = Bypass()
        self._runs_are_short = False
        self._lessons = Lessons()
        self._due: asyncio.TimerHandle | None = None
        self._tasks = BatchTasks(runs, recorder, runners.clock)
        self._running = 0
        self._drained: asyncio.Event | None = None
        recorder.watch(self._queue)

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for a runner, or for others to join it."""
        return bool(self._queue)

    @property
    def mean_run_s(self) -> float | None:
        """How long a run took of late, or None if there was none."""
        return self.runs.cost.mean_s

    def run(
        self, route: Route, inputs: Mapping[str, Array], *, deadline: float | None
    ) -> Coroutine[Any, Any, Sequence[Array]]:
        """Return the outputs of `route` for `inputs`. Raises what `Servable.run` does.

        Also raises `InvalidArgument` for more rows than are served, and `Unavailable` when too
        much waits already, or more than can be done before the deadline.
        """
        if rows := self._rows_past(route, inputs):
            self._went_past(rows)
            servable = self.runs.servable
            return servable.run(route.signature, inputs, route.outputs, deadline=deadline)
        return self._run(route, inputs, deadline)

    @property
    def may_run_inline(self) -> bool:
        """Whether requests go straight to the model at the moment."""
        return self._bypass.left > 0

    def run_inline(
        self, route: Route, inputs: Mapping[str, Array], *, deadline: float | None
    ) -> Sequence[Array] | None:
        """Do what `run` does, at once; None where others may be about, or the run is not short."""
        rows = self._rows_past(route, inputs)
        if not rows:
            return None
        try:
            outputs = self.runs.servable.run_inline(
                route.signature, inputs, route.outputs, deadline=deadline
            )
        except SigrunError:
            self._went_past(rows)
            raise
        if outputs is not None:
            self._went_past(rows)
        return outputs

    def _rows_past(self, route: Route, inputs: Mapping[str, Array]) -> int:
        """Return how many rows a request has that goes straight to the model; else 0."""
        if not self._bypass.left:
            return 0
        shape = inputs[route.lead].shape
        rows = shape[0] if shape else 1
        return rows if self._bypass.lets_past(rows) else 0

    def _went_past(self, rows: int) -> None:
        self._bypass.went_past()
        self._recorder.ran_at_once(rows)

    async def _run(
        self, route: Route, inputs: Mapping[str, Array], deadline: float | None
    ) -> Sequence[Array]:
        now = self._runners.clock()
        if deadline is not None and deadline <= now:
            raise DeadlineExceeded
        arrays = [inputs[alias] for alias in route.inputs]
        rows = self.runs.rule.rows(arrays)
        self.share.asked_at = now
        if rows and self._need_not_wait(rows) and (self._is_short(rows) or self._lessons.takes()):
            self._recorder.ran_at_once(rows)
            outputs = await self.runs.as_sent(route, inputs, rows, deadline)
            self._renew_bypass()
            return outputs
        if self._leaves_at_once(rows) and self._runners.take(self, now):
            self._running += 1
            self._recorder.ran_at_once(rows or 1)
            try:
                outputs = await self.runs.as_sent(route, inputs, rows, deadline)
            finally:
                self._end_run()
            self._renew_bypass()
            return outputs
        pending = self._enqueue(arrays, rows, now, deadline)
        reply = pending.reply
        try:
            await reply.future
        except (asyncio.CancelledError, GeneratorExit):
            self._withdraw(pending)
            raise
        finally:
            if reply.expiry is not None:
                reply.expiry.cancel()
        if reply.state is _RUN_YOURSELF:
            if reply.trace is not None:
                wait_s, ended = self._runners.clock() - now, time.perf_counter()
                reply.trace.step("queue", ended - wait_s, ended, FOR_BATCH)
            try:
                outputs = await self.runs.as_batch(route, inputs, pending)
            finally:
                self._end_run()
            self._renew_bypass()
            return outputs
        return route.arranged(reply.outputs)

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

    def _is_short(self, rows: int) -> bool:
        """Tell whether a run costs less than a place in the queue, whoever waits there."""
        return rows <= self.runs.cost_alone.short_rows(is_short=self._runs_are_short)

    def _leaves_at_once(self, rows: int) -> bool:
        """Tell whether waiting gains a request nothing: alone, or not to be merged."""
        if self._queue:
            return False
        return not rows or (self._need_not_wait(rows) and not self._expects_others())

    def _need_not_wait(self, rows: int) -> bool:
        """Tell whether nothing is prescribed for which a request has to wait."""
        options = self._options
        return (
            not options.batch_timeout_s
            and rows <= options.max_batch_rows
            and not self.runs.pads(rows)
        )

    def _expects_others(self) -> bool:
        return self._companions.expects_any(1 + self._bypass.taken())

    def _renew_bypass(self) -> None:
        """Let the next requests past, if it is known that there is nothing to be done for them."""
        options, cost = self._options, self.runs.cost_alone
        rows = 0
        if not (options.batch_timeout_s or options.allowed_batch_rows):
            rows = cost.short_rows(is_short=self._runs_are_short)
            self._runs_are_short = rows > 0
            if self._runs_are_short:
                self._lessons.changed_something()
            if self._companions.is_alone and not self._queue:
                rows = cost.brief_rows()
        self._bypass.renew(min(rows, options.max_batch_rows) if self.runs.rule.merges else 0)

    def _enqueue(
        self, arrays: Sequence[Array], rows: int, now: float, deadline: float | None
    ) -> Pending[Reply]:
        pending = Pending(
            arrays,
            rows=rows or 1,
            form=self.runs.rule.form(arrays) if rows else None,
            enqueued_at=now,
            deadline=deadline,
            reply=Reply(asyncio.get_running_loop().create_future(), arrays, rows=rows or 1),
        )
        try:
            self._check_in_time(pending, now)
            self._add(pending)
        except Unavailable:
            self._recorder.refused_requests += 1
            raise
        self._recorder.request(pending.rows)
        self._runners.call(self)
        if deadline is not None or self._runners.longest_wait_s < math.inf:
            # A timer for each request would cost more than the wait that it limits: most have
            # left the queue by then.
            self._runners.after_dispatch(functools.partial(self._limit_wait, pending))
        return pending

    def _check_in_time(self, pending: Pending[Reply], now: float) -> None:
        """Raise `Unavailable` if what waits cannot all be done before the deadline of `pending`.

        Without a deadline it is the longest wait that counts. Where nothing waits a request is
        always taken: only runs can show that what is known of them is wrong.
        """
        if not self._queue:
            return
        batch_rows = self._options.execution_batch_rows if self.runs.rule.merges else 1
        rows = self._queue.rows + pending.rows
        least_s = self.runs.cost.least_s(rows, batch_rows=batch_rows) / self._runners.count
        if pending.deadline is None:
            if least_s > self._runners.longest_wait_s:
                raise Unavailable(
                    f"What waits takes {least_s:.3g} s or more ({self._backlog()}), and "
                    f"{no_longer_than(self._runners.longest_wait_s)}"
                )
        elif now + least_s > pending.deadline:
            raise Unavailable(
                f"The request cannot be served before its deadline, which is in "
                f"{pending.deadline - now:.3g} s: what waits takes {least_s:.3g} s or more "
                f"({self._backlog()})"
            )

    def _add(self, pending: Pending[Reply]) -> None:
        try:
            self._queue.add(pending)
        except Unavailable:
            # What idle runners are about to take fills the queue for nobody: they take it now.
            self._runners.dispatch()
            try:
                self._queue.add(pending)
            except Unavailable as error:
                raise Unavailable(f"{error} ({self._backlog()})") from None

    def _backlog(self) -> str:
        waiting = len(self._queue)
        return f"{self.runs.name}; {waiting} requests wait"

    def _limit_wait(self, pending: Pending[Reply]) -> None:
        """See to it that the caller is answered when its time is up."""
        reply = pending.reply
        if reply.future.done():
            return
        until, tell = pending.deadline, self._expire
        if until is None:
            until, tell = pending.enqueued_at + self._runners.longest_wait_s, self._end_wait
        wait_s = until - self._runners.clock()
        reply.expiry = asyncio.get_running_loop().call_later(wait_s, tell, pending)

    def _expire(self, pending: Pending[Reply]) -> None:
        if pending.reply.expire(DeadlineExceeded()):
            self._give_up(pending)

    def _end_wait(self, pending: Pending[Reply]) -> None:
        """Refuse a request without a deadline that has waited for too long, and does not run."""
        limit = no_longer_than(self._runners.longest_wait_s)
        error = Unavailable(f"Too much waits ({self._backlog()}), and {limit}")
        if not pending.reply.batches and pending.reply.expire(error):
            self._give_up(pending)

    def _withdraw(self, pending: Pending[Reply]) -> None:
        """Forget a request whose caller has gone."""
        has_runner = pending.reply.state is ReplyState.RUN_YOURSELF
        pending.reply.state = ReplyState.WITHDRAWN
        self._give_up(pending)
        if has_runner:  # the caller was cancelled before it came to use it
            self._end_run()

    def _give_up(self, pending: Pending[Reply]) -> None:
        self._recorder.given_up_requests += 1
        self._queue.remove(pending)
        for batch in pending.reply.batches:
            batch.leave()
        self._tell_if_drained()

    def _take(self, now: float) -> Batch[Reply]:
        """Return the next batch, of callers who are still there; empty if it is not time."""
        self._queue.merges = self.runs.rule.merges
        while self._queue:
            batch, expired = self._queue.take(now)
            for pending in expired:
                self._expire(pending)
            if wanted := still_wanted(batch):
                self._companions.observed(len(wanted))
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

    def _shares(self, batch: Batch[Reply], runners: int) -> list[Batch[Reply]]:
        """Divide a batch among runners that have nothing to do, if its rows are worth it."""
        is_whole = len(batch) == 1 and not self._options.enable_large_batch_splitting
        if runners < 2 or is_whole or not self._queue.merges:
            return [batch]
        rows = sum(pending.rows for pending in batch)
        all_rows = rows + self._queue.rows
        count = min(runners, self.runs.cost.worthwhile_shares(all_rows))
        share_rows = -(-all_rows // count)
        if rows <= share_rows:
            return [batch]
        shares = share_out(batch, share_rows, self._options)
        self._recorder.shared_batches += len(shares) > 1
        return shares

    def _start(self, batch: Batch[Reply]) -> None:
        self._running += 1
        first = batch[0]
        if len(batch) == 1 and not first.reply.is_piece(first):
            first.reply.tell_to_run()
            return
        if self._lessons.merged() and self.runs.cost.tells_by_less(1):
            self._lessons.begin()
            self.runs.forget_alone()  # what the lesson says is to count
        self._tasks.start(batch, self._end_run)

    def _end_run(self) -> None:
        self._running -= 1
        self._runners.release(self.share)
        self._tell_if_drained()

    def _tell_if_drained(self) -> None:
        if self._drained is not None and not self._running and not self._queue:
            self._drained.set()
