"""A request that waits, or a piece of one, and the batch that it may become part of.

In: the arrays of one request, and what they must share with others. Out: the same, or cut in two.
Nothing here reads a clock. What the answer goes to is `reply`, which is only carried along.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from sigrun.batching.limits import Slot
from sigrun.tensors.signature import Array

ReplyT = TypeVar("ReplyT")


class Pending(Generic[ReplyT]):
    """A request that waits, or the piece of one that was cut off, or what is left of it.

    Requests of one `form` may run together; one whose form is None runs by itself, and counts
    as one row. `first_row` says where in the request a piece begins. `deadline` and `enqueued_at`
    are in seconds of the caller's clock.
    """

    __slots__ = (
        "arrays",
        "deadline",
        "enqueued_at",
        "first_row",
        "form",
        "reply",
        "rows",
        "slot",
    )

    def __init__(
        self,
        arrays: Sequence[Array],
        *,
        rows: int,
        form: Hashable | None,
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
        self.slot: Slot | None = None

    @property
    def key(self) -> Hashable:
        """What the requests that it may run with have in common with it, and nobody else."""
        return self if self.form is None else self.form

    def cut(self, rows: int) -> Pending[ReplyT]:
        """Return the first `rows` rows as a piece, and keep the others. Scalars stay whole."""
        piece = Pending(
            [array[:rows] if array.ndim else array for array in self.arrays],
            rows=rows,
            form=self.form,
            enqueued_at=self.enqueued_at,
            deadline=self.deadline,
            reply=self.reply,
            first_row=self.first_row,
        )
        self.arrays = [array[rows:] if array.ndim else array for array in self.arrays]
        self.rows -= rows
        self.first_row += rows
        return piece

    def is_expired(self, now: float) -> bool:
        """Tell whether its caller has stopped waiting."""
        return self.deadline is not None and self.deadline <= now


Batch = list[Pending[ReplyT]]
