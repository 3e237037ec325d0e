"""Bound what waits in a queue, as TensorFlow Serving does: the back-pressure of batching.

In: rows that come and rows that leave. Out: a slot, or `Unavailable` with TensorFlow Serving's
text. The rows that wait are laid into batches in the order in which they come, and no more batches
than `max_batches` are begun.
"""

from __future__ import annotations

from sigrun.errors import Unavailable


class Slot:
    """A batch as a limit counts it; `rows` is what still waits of it."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = 0


class BatchCountLimit:
    """The limit where requests stay whole: one is refused only if it would begin a batch."""

    def __init__(self, batch_rows: int, max_batches: int) -> None:
        self.batches = 1  # the open one counts even while it is empty
        self._batch_rows = batch_rows
        self._max_batches = max_batches
        self._open = Slot()

    def enter(self, rows: int) -> Slot:
        """Make room for a request. Raises `Unavailable` when there is none."""
        if self._open.rows + rows > self._batch_rows:
            if self.batches >= self._max_batches:
                raise Unavailable(
                    "The batch scheduling queue to which this task was submitted is full; "
                    f"currently {self.batches} batches enqueued and max_enqueued_batches is "
                    f"{self._max_batches}"
                )
            self._open = Slot()
            self.batches += 1
        self._open.rows += rows
        return self._open

    def leave(self, slot: Slot, rows: int) -> None:
        """Take back `rows` rows of what is in `slot`."""
        slot.rows -= rows
        if not slot.rows and slot is not self._open:
            self.batches -= 1


class RowLimit:
    """The limit where requests are cut to fill batches: it is one on rows."""

    def __init__(self, batch_rows: int, max_batches: int) -> None:
        self._batch_rows = batch_rows
        self._max_batches = max_batches
        self._all = Slot()

    @property
    def batches(self) -> int:
        """How many batches the waiting rows make; the open one counts even while it is empty."""
        return max(1, -(-self._all.rows // self._batch_rows))

    def enter(self, rows: int) -> Slot:
        """Make room for a request. Raises `Unavailable` when there is too little."""
        capacity = self._max_batches * self._batch_rows - self._all.rows
        if rows > capacity:
            open_batch_size = self._all.rows - (self.batches - 1) * self._batch_rows
            raise Unavailable(
                "The batch scheduling queue to which this task was submitted is full; task "
                f"size is {rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={self.batches}, "
                f"max_enqueued_batches={self._max_batches}, "
                f"open_batch_size={open_batch_size}, max_execution_batch_size={self._batch_rows})"
            )
        self._all.rows += rows
        return self._all

    def leave(self, slot: Slot, rows: int) -> None:
        """Take back `rows` rows of what is in `slot`."""
        slot.rows -= rows
