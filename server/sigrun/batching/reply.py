"""Where the answer to one request goes, whole or in pieces.

In: outputs, an error, or the word that the caller is to run the request itself. Out: a future that
is done once one of these is there, and a state that says which.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from typing import Final

from sigrun.batching.batch import join
from sigrun.batching.pending import Pending
from sigrun.telemetry.steps import CURRENT
from sigrun.tensors.signature import Array


class ReplyState(enum.Enum):
    """What became of a request. All but the first two are final."""

    WAITING = enum.auto()  # in the queue, or in a batch that runs
    REJOINED = enum.auto()  # it was cut, and runs whole after all: its pieces do not count
    RUN_YOURSELF = enum.auto()  # it has a runner, which its caller is to use
    DELIVERED = enum.auto()  # `outputs` is there
    FAILED = enum.auto()  # the future has the error
    EXPIRED = enum.auto()  # its deadline passed first
    WITHDRAWN = enum.auto()  # its caller has gone


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_WAITING: Final = ReplyState.WAITING
_DELIVERED: Final = ReplyState.DELIVERED


class RunningBatch:
    """Cancels the task of a batch when the last of its callers has gone."""

    __slots__ = ("_callers", "task")

    def __init__(self, callers: int) -> None:
        self._callers = callers
        self.task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Count a caller out."""
        self._callers -= 1
        if not self._callers and self.task is not None:
            self.task.cancel()


class Reply:
    """The answer to one request of `rows` rows, which has the arrays `request`.

    The future can be done before the state is final: a caller that is cancelled cancels what it
    waits for at once, and comes to say so a turn of the event loop later.
    """

    __slots__ = (
        "_answered_rows",
        "_pieces",
        "batches",
        "expiry",
        "future",
        "outputs",
        "request",
        "rows",
        "state",
        "trace",
    )

    def __init__(
        self, future: asyncio.Future[None], request: Sequence[Array], *, rows: int
    ) -> None:
        self.future = future
        self.request = request
        self.rows = rows
        self.state: ReplyState = _WAITING
        self.trace = CURRENT.get()
        self.outputs: Sequence[Array] = ()
        self.expiry: asyncio.TimerHandle | None = None
        self.batches: tuple[RunningBatch, ...] = ()
        self._answered_rows = 0
        self._pieces: dict[int, Sequence[Array]] = {}

    def accepts(self, pending: Pending[Reply]) -> bool:
        """Tell whether an answer to `pending`, a piece of this request or all, is wanted."""
        if self.future.done():
            return False
        return self.state is _WAITING or not self.is_piece(pending)

    def is_piece(self, pending: Pending[Reply]) -> bool:
        """Tell whether `pending` is less than the whole request."""
        return pending.rows < self.rows

    def tell_to_run(self) -> None:
        """Hand a runner to the caller."""
        if not self.future.done():
            self._settle(ReplyState.RUN_YOURSELF)

    def deliver(self, pending: Pending[Reply], outputs: Sequence[Array]) -> None:
        """Answer the caller, if it still waits and now everything is there."""
        if not self.accepts(pending):
            return
        if self.is_piece(pending):
            self._pieces[pending.first_row] = outputs
            self._answered_rows += pending.rows
            if self._answered_rows < self.rows:
                return
            outputs = join([self._pieces[first_row] for first_row in sorted(self._pieces)])
        self.outputs = outputs
        self._settle(_DELIVERED)

    def fail(self, error: Exception) -> None:
        """Raise `error` to the caller, if it still waits."""
        if not self.future.done():
            self.state = ReplyState.FAILED
            self.future.set_exception(error)

    def expire(self, error: Exception) -> bool:
        """Tell the caller that its time is up; return whether it still waited."""
        if self.future.done():
            return False
        self.state = ReplyState.EXPIRED
        self.future.set_exception(error)
        return True

    def rejoin(self, piece: Pending[Reply]) -> Pending[Reply]:
        """Return the whole request that `piece` is of; answers to its pieces no longer count."""
        self.state = ReplyState.REJOINED
        return Pending(
            self.request,
            rows=self.rows,
            form=None,
            enqueued_at=piece.enqueued_at,
            deadline=piece.deadline,
            reply=self,
        )

    def _settle(self, state: ReplyState) -> None:
        self.state = state
        self.future.set_result(None)
