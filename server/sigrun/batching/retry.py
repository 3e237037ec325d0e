"""Decide what to run again after a batch has failed.

In: the requests of the batch whose callers still wait, and its error. Out: the parts to run again,
each by itself. Pure.

One bad request must not fail those it happened to run with. Nobody knows which one it was, so the
halves run again, and theirs: 2n - 1 runs at most for n requests, and one bad request among many is
found in a few.
"""

from __future__ import annotations

from sigrun.batching.batch import IndivisibleOutputs
from sigrun.batching.pending import Batch, ReplyT
from sigrun.errors import Code, SigrunError

# Errors that say nothing about the requests: a full queue, a deadline that passed, a server
# that stops. Another run would meet the same.
_NOT_RETRIED = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)


def next_parts(
    batch: Batch[ReplyT], error: Exception, *, failed_requests: int
) -> list[Batch[ReplyT]]:
    """Return the parts of `batch` to run again; none if the error is everybody's answer.

    `batch` is what is left of the `failed_requests` that failed together: one that is left of
    several has not failed by itself. After `IndivisibleOutputs` every request runs by itself,
    also one that had been alone: then it was padded, or a piece of a larger one.
    """
    if isinstance(error, IndivisibleOutputs):
        return [[pending] for pending in batch]
    if failed_requests == 1 or (isinstance(error, SigrunError) and error.code in _NOT_RETRIED):
        return []
    middle = len(batch) // 2
    return [part for part in (batch[:middle], batch[middle:]) if part]
