"""Decide which waiting requests run together, and when.

In: requests, and the time. Out: the next batch. Nothing here reads a clock or waits; what a
request's answer goes to is `reply`, which is only carried along. `scheduler` does the rest.

Requests of one form (see `batch`) run in the order in which they came, and the form whose
oldest request came first goes first. The bound counts as TensorFlow Serving does: the rows that
wait are laid into batches in the order in which they come, and no more batches than
`max_enqueued_batches` are begun.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument, Unavailable
from sigrun.tensors.signature import Array

ReplyT = TypeVar("ReplyT")


class Pending(Generic[ReplyT]):
    """A request that waits, or the piece of one that was cut off or is left.

    `first_row` says where in the request the piece begins. `deadline` and `enqueued_at` are in
    seconds of the caller's clock.
    """

    __slots__ = (
        "arrays",
        "deadline",
        "enqueued_at",
        "first_row",
        "form",
        "place",
        "reply",
        "rows",
    )

    def __init__(
        self,
        arrays: Sequence[Array],
        *,
        rows: int,
        form: Hashable,
        enqueued_at: float,
        deadline: float | None,
        reply: ReplyT,
        first_row: int = 0,
    ) -> None:
        self.arrays = arrays
        self.rows = rows
        self.form = form
        self.enqueued_at = enqueued_at
        self.deadline = deadline
        self.reply = reply
        self.first_row = first_row
        self.place: _Place | None = None

    def cut(self, rows: int) -> Pending[ReplyT]:
        """Return the first `rows` rows as a piece, and keep the others."""
        piece = Pending(
            [array[:rows] for array in self.arrays],
            rows=rows,
            form=self.form,
            enqueued_at=self.enqueued_at,
            deadline=self.deadline,
            reply=self.reply,
            first_row=self.first_row,
        )
        self.arrays = [array[rows:] for array in self.arrays]
        self.rows -= rows
        self.first_row += rows
        return piece

    def is_expired(self, now: float) -> bool:
        """Tell whether nobody waits any more."""
        return self.deadline is not None and self.deadline <= now


Batch = list[Pending[ReplyT]]


class BatchQueue(Generic[ReplyT]):
    """Holds what waits for one set of tensors. The caller supplies the time.

    With `merges` off, every request is a batch of its own.
    """

    def __init__(self, options: BatchingOptions) -> None:
        self.rows = 0
        self.merges = True
        self._options = options
        self._limit = options.execution_batch_rows
        self._gathers = options.batch_timeout_s > 0
        self._groups: dict[Hashable, _Group[ReplyT]] = {}
        self._room = (_LooseRoom if not options.enable_large_batch_splitting else _ExactRoom)(
            self._limit, max(1, options.max_enqueued_batches)
        )

    def __len__(self) -> int:
        return sum(len(group.waiting) for group in self._groups.values())

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, pending: Pending[ReplyT]) -> None:
        """Let a request of one row or more wait.

        Raises `InvalidArgument` for one that is too large, `Unavailable` when there is no
        room.
        """
        if pending.rows > self._options.max_batch_rows:
            raise InvalidArgument(
                f"Task size {pending.rows} is larger than maximum input batch size "
                f"{self._options.max_batch_rows}"
            )
        self._room.enter(pending)
        group = self._groups.get(pending.form)
        if group is None:
            group = self._groups[pending.form] = _Group()
        group.waiting[pending] = None
        group.rows += pending.rows
        self.rows += pending.rows

    def remove(self, pending: Pending[ReplyT]) -> bool:
        """Forget a request, and tell whether it, or a part of it, was still waiting."""
        group = self._groups.get(pending.form)
        if group is None or pending not in group.waiting:
            return False
        self._leave(group, pending)
        self._forget_if_empty(group, pending.form)
        return True

    def due_at(self) -> float | None:
        """Return when the oldest request has waited for company long enough, if one waits."""
        if not self._groups:
            return None
        oldest = min(group.oldest.enqueued_at for group in self._groups.values())
        return oldest + self._options.batch_timeout_s

    def take(self, now: float) -> tuple[Batch[ReplyT], Batch[ReplyT]]:
        """Remove and return the next batch, and the requests in its way that have expired.

        The batch is empty while it is better to wait, or if all of its requests had expired.
        """
        group = self._next_group(now)
        if group is None:
            return [], []
        form = group.oldest.form
        taken = self._take_from(group, now)
        self._forget_if_empty(group, form)
        return taken

    def _next_group(self, now: float) -> _Group[ReplyT] | None:
        if self._gathers and self.merges and self._room.batches < 2:
            ready = [group for group in self._groups.values() if self._is_full_or_due(group, now)]
            return min(ready, key=_oldest_arrival, default=None)
        if len(self._groups) < 2:
            return next(iter(self._groups.values()), None)
        return min(self._groups.values(), key=_oldest_arrival)

    def _is_full_or_due(self, group: _Group[ReplyT], now: float) -> bool:
        due_at = group.oldest.enqueued_at + self._options.batch_timeout_s
        return group.rows >= self._limit or due_at <= now

    def _take_from(self, group: _Group[ReplyT], now: float) -> tuple[Batch[ReplyT], Batch[ReplyT]]:
        batch: Batch[ReplyT] = []
        expired: Batch[ReplyT] = []
        room = self._limit
        while room and group.waiting:
            pending = group.oldest
            if pending.is_expired(now):
                expired.append(pending)
                self._leave(group, pending)
            elif pending.rows <= room:
                batch.append(pending)
                self._leave(group, pending)
                room = room - pending.rows if self.merges else 0
            elif self._options.enable_large_batch_splitting:
                batch.append(self._cut(group, pending, room))
                room = 0
            else:
                break
        return batch, expired

    def _leave(self, group: _Group[ReplyT], pending: Pending[ReplyT]) -> None:
        del group.waiting[pending]
        group.rows -= pending.rows
        self.rows -= pending.rows
        self._room.leave(pending, pending.rows)

    def _cut(self, group: _Group[ReplyT], pending: Pending[ReplyT], rows: int) -> Pending[ReplyT]:
        group.rows -= rows
        self.rows -= rows
        self._room.leave(pending, rows)
        return pending.cut(rows)

    def _forget_if_empty(self, group: _Group[ReplyT], form: Hashable) -> None:
        if not group.waiting:
            del self._groups[form]


def share_out(batch: Batch[ReplyT], rows: int, options: BatchingOptions) -> list[Batch[ReplyT]]:
    """Divide a batch into smaller ones of about `rows` rows, in order.

    There are at most as many as `rows` goes into the batch, rounded up. Requests are cut
    where large ones may be.
    """
    target = options.processed_rows(rows)
    shares: list[Batch[ReplyT]] = [[]]
    room = target
    for pending in batch:
        if room <= 0:
            shares.append([])
            room = target
        while options.enable_large_batch_splitting and pending.rows > room:
            shares[-1].append(pending.cut(room))
            shares.append([])
            room = target
        shares[-1].append(pending)
        room -= pending.rows
    return shares


class _Group(Generic[ReplyT]):
    """The requests of one form, in the order in which they came."""

    __slots__ = ("rows", "waiting")

    def __init__(self) -> None:
        self.rows = 0
        self.waiting: OrderedDict[Pending[ReplyT], None] = OrderedDict()

    @property
    def oldest(self) -> Pending[ReplyT]:
        return next(iter(self.waiting))


def _oldest_arrival(group: _Group[ReplyT]) -> float:
    return group.oldest.enqueued_at


class _Place:
    """A batch as the bound counts it; `rows` is what still waits of it."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = 0


class _LooseRoom:
    """The bound when requests stay whole: one is refused only if a new batch had to begin."""

    def __init__(self, limit: int, max_batches: int) -> None:
        self.batches = 1  # the open one is counted even while it is empty
        self._limit = limit
        self._max_batches = max_batches
        self._open = _Place()

    def enter(self, pending: Pending[ReplyT]) -> None:
        if self._open.rows + pending.rows > self._limit:
            if self.batches >= self._max_batches:
                raise Unavailable(
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"currently {self.batches} batches enqueued and max_enqueued_batches is "
                    f"{self._max_batches}"
                )
            self._open = _Place()
            self.batches += 1
        pending.place = self._open
        self._open.rows += pending.rows

    def leave(self, pending: Pending[ReplyT], rows: int) -> None:
        place = pending.place
        if place is not None:
            place.rows -= rows
            if not place.rows and place is not self._open:
                self.batches -= 1


class _ExactRoom:
    """The bound when requests are cut to fill batches: it is one on rows."""

    def __init__(self, limit: int, max_batches: int) -> None:
        self._limit = limit
        self._max_batches = max_batches
        self._rows = 0

    @property
    def batches(self) -> int:
        return max(1, -(-self._rows // self._limit))

    def enter(self, pending: Pending[ReplyT]) -> None:
        capacity = self._max_batches * self._limit - self._rows
        if pending.rows > capacity:
            open_batch_size = self._rows - (self.batches - 1) * self._limit
            raise Unavailable(
                "The batch scheduling queue to which this task was submitted is full; task "
                f"size is {pending.rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={self.batches}, "
                f"max_enqueued_batches={self._max_batches}, "
                f"open_batch_size={open_batch_size}, max_execution_batch_size={self._limit})"
            )
        self._rows += pending.rows

    def leave(self, pending: Pending[ReplyT], rows: int) -> None:
        self._rows -= rows
