"""Decide which waiting requests run together, and when.

In: requests, and the time. Out: the next batch. Nothing here reads a clock or waits; `scheduler`
does both.

Requests of one form (see `merging`) run in the order in which they came, and the form whose
oldest request came first goes first. What cannot be merged is a batch by itself, which never
waits for the batch timeout.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic

from sigrun.batching.limits import BatchCountLimit, RowLimit
from sigrun.batching.pending import Batch, Pending, ReplyT
from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument


class BatchQueue(Generic[ReplyT]):
    """Holds what waits for one set of tensors. The caller supplies the time.

    With `merges` off, every request is a batch of its own, and none is cut.
    """

    def __init__(self, options: BatchingOptions) -> None:
        self.rows = 0
        self.merges = True
        self._options = options
        self._batch_rows = options.execution_batch_rows
        self._groups: dict[Hashable, _Group[ReplyT]] = {}
        self._limit = (RowLimit if options.enable_large_batch_splitting else BatchCountLimit)(
            self._batch_rows, max(1, options.max_enqueued_batches)
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
        pending.slot = self._limit.enter(pending.rows)
        group = self._groups.get(pending.key)
        if group is None:
            group = self._groups[pending.key] = _Group()
        group.waiting[pending] = None
        group.rows += pending.rows
        self.rows += pending.rows

    def remove(self, pending: Pending[ReplyT]) -> bool:
        """Forget a request, and tell whether it, or a part of it, was still waiting."""
        group = self._groups.get(pending.key)
        if group is None or pending not in group.waiting:
            return False
        self._leave(group, pending)
        self._forget_if_empty(group, pending.key)
        return True

    def due_at(self) -> float | None:
        """Return when a request has waited for others long enough, if one waits."""
        return min(map(self._due_at, self._groups.values()), default=None)

    def take(self, now: float) -> tuple[Batch[ReplyT], Batch[ReplyT]]:
        """Remove and return the next batch, and the requests in its way that have expired.

        The batch is empty while it is better to wait, or if all of its requests had expired.
        """
        group = self._next_group(now)
        if group is None:
            return [], []
        key = group.oldest.key
        taken = self._take_from(group, now)
        self._forget_if_empty(group, key)
        return taken

    def _next_group(self, now: float) -> _Group[ReplyT] | None:
        groups = self._groups.values()
        # A second batch that has begun is a reason not to wait: the first one can only leave.
        if self._options.batch_timeout_s and self._limit.batches < 2:
            ready = [group for group in groups if self._is_full_or_due(group, now)]
            return min(ready, key=_oldest_arrival, default=None)
        if len(groups) < 2:
            return next(iter(groups), None)
        return min(groups, key=_oldest_arrival)

    def _is_full_or_due(self, group: _Group[ReplyT], now: float) -> bool:
        return group.rows >= self._batch_rows or self._due_at(group) <= now

    def _due_at(self, group: _Group[ReplyT]) -> float:
        oldest = group.oldest
        if oldest.form is None or not self.merges:
            return oldest.enqueued_at  # nobody can come to join it
        return oldest.enqueued_at + self._options.batch_timeout_s

    def _take_from(self, group: _Group[ReplyT], now: float) -> tuple[Batch[ReplyT], Batch[ReplyT]]:
        batch: Batch[ReplyT] = []
        expired: Batch[ReplyT] = []
        room = self._batch_rows
        while room and group.waiting:
            pending = group.oldest
            if pending.is_expired(now):
                expired.append(pending)
                self._leave(group, pending)
            elif not self.merges:
                batch.append(pending)
                self._leave(group, pending)
                break
            elif pending.rows <= room:
                batch.append(pending)
                self._leave(group, pending)
                room -= pending.rows
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
        if pending.slot is not None:
            self._limit.leave(pending.slot, pending.rows)

    def _cut(self, group: _Group[ReplyT], pending: Pending[ReplyT], rows: int) -> Pending[ReplyT]:
        group.rows -= rows
        self.rows -= rows
        if pending.slot is not None:
            self._limit.leave(pending.slot, rows)
        return pending.cut(rows)

    def _forget_if_empty(self, group: _Group[ReplyT], key: Hashable) -> None:
        if not group.waiting:
            del self._groups[key]


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
