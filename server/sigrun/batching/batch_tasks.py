"""Run batches of several requests, and give each caller its share.

In: a batch that has a runner. Out: the reply of each of its requests is settled; then the runner is
given back.

A task runs the batch, because no caller can: each may leave while the others wait. It is
cancelled when the last of them has gone. When the batch fails, or its outputs cannot be divided,
the task goes on with its parts on the same runner, until every caller has an answer of its own
(see `retry`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from sigrun.batching.pending import Batch
from sigrun.batching.reply import Reply, RunningBatch
from sigrun.batching.retry import next_parts
from sigrun.batching.runs import Runs
from sigrun.batching.statistics import BatchRecorder
from sigrun.errors import SigrunError, Unavailable, error_for
from sigrun.telemetry.steps import CURRENT
from sigrun.tensors.signature import Array

FOR_BATCH = {"sigrun.queue": "batch"}
"""What a wait is told by in traces."""


class BatchTasks:
    """Owns the tasks of one scheduler."""

    def __init__(
        self, runs: Runs, recorder: BatchRecorder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._runs = runs
        self._recorder = recorder
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, batch: Batch[Reply], ended: Callable[[], None]) -> None:
        """Run `batch` in a task, and call `ended` when that is over, however it ends."""
        running = RunningBatch(len(batch))
        for pending in batch:
            if pending.reply.is_piece(pending) and not pending.reply.batches:
                self._recorder.split_requests += 1
            pending.reply.batches = (*pending.reply.batches, running)
        running.task = task = asyncio.create_task(
            self._run(batch, ended), name=f"batch of {len(batch)} for {self._runs.name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Batch[Reply], ended: Callable[[], None]) -> None:
        try:
            await self._traced(batch)
        except BaseException:
            _fail(batch, Unavailable("The server stops"))  # or nobody is left to be told
            raise
        finally:
            ended()

    async def _traced(self, batch: Batch[Reply]) -> None:
        """Run the batch, in a span that is linked to those of its requests, and they to it."""
        traces = [one.reply.trace for one in batch if one.reply.trace is not None]
        CURRENT.set(None)  # this task has the context of whoever happened to start it
        if not traces:
            await self._run_and_answer(batch)
            return
        now, began = self._clock(), time.perf_counter()
        rows = sum(one.rows for one in batch)
        attributes = {"sigrun.batch.requests": len(batch), "sigrun.batch.rows": rows}
        span = traces[0].recorder.begin_batch(traces, attributes)
        for one in batch:
            if one.reply.trace is not None:
                one.reply.trace.step("queue", began - (now - one.enqueued_at), began, FOR_BATCH)
        CURRENT.set(span)
        try:
            await self._run_and_answer(batch)
        finally:
            ended = time.perf_counter()
            span.recorder.end(span)
            for trace in traces:
                trace.step("run", began, ended, attributes, link=span)

    async def _run_and_answer(self, batch: Batch[Reply]) -> None:
        batch = self._to_run(batch)
        if not batch:
            return
        answers: Sequence[Sequence[Array]]
        try:
            if len(batch) == 1 and not self._runs.rule.merges:
                answers = [await self._runs.alone(batch[0])]
            else:
                answers = await self._runs.merged(batch)
        except Exception as error:
            await self._retry_or_fail(batch, error)
            return
        for pending, outputs in zip(batch, answers, strict=True):
            pending.reply.deliver(pending, outputs)

    async def _retry_or_fail(self, batch: Batch[Reply], error: Exception) -> None:
        parts = next_parts(still_wanted(batch), error, failed_requests=len(batch))
        if not parts:
            _fail(batch, error)
            return
        self._recorder.retried_batches += 1
        for part in parts:
            await self._run_and_answer(part)

    def _to_run(self, batch: Batch[Reply]) -> Batch[Reply]:
        """Return what is still wanted of a batch; of what is not merged any more no pieces."""
        wanted = still_wanted(batch)
        if self._runs.rule.merges:
            return wanted
        return [
            pending.reply.rejoin(pending) if pending.reply.is_piece(pending) else pending
            for pending in wanted
        ]


def still_wanted(batch: Batch[Reply]) -> Batch[Reply]:
    """Return the requests, and pieces of requests, whose callers wait for an answer to them."""
    return [pending for pending in batch if pending.reply.accepts(pending)]


def _fail(batch: Batch[Reply], error: Exception) -> None:
    """Tell every caller that still waits; several get errors of their own."""
    for pending in batch:
        if len(batch) > 1 and isinstance(error, SigrunError):
            # One error raised in many places would collect all their tracebacks.
            pending.reply.fail(error_for(error.code, str(error)))
        else:
            pending.reply.fail(error)
