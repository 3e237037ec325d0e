"""How requests are gathered into batches: `BatchingParameters`, checked once.

In: what a batching parameters file says, or nothing. Out: options with every rule that such a
file must keep; the texts are TensorFlow Serving's.
"""

from __future__ import annotations

from dataclasses import dataclass

from sigrun.errors import InvalidArgument

THREAD_POOL_NAME_WITHOUT_FILE = "model_server_batch_threads"
"""The `thread_pool_name` of a server with batching but without a parameters file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingOptions:
    """How the requests for one signature share runs.

    A row is one entry of the first dimension of the inputs.

    Raises `InvalidArgument` for a size, time or number that is out of range, and for
    allowed sizes or an execution limit that do not fit the largest batch.
    """

    max_batch_rows: int = 1000  # of one request, and of a batch unless large ones are split
    batch_timeout_s: float = 0.0  # 0: a batch leaves as soon as it can run
    max_enqueued_batches: int = 10  # 0 counts as 1
    num_batch_threads: int | None = None  # of all models together; None: one per available CPU
    thread_pool_name: str = "batch_threads"
    enable_large_batch_splitting: bool = False
    max_execution_batch_rows: int | None = None  # None: max_batch_rows; used when splitting
    allowed_batch_rows: tuple[int, ...] = ()  # empty: batches are not padded
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_allowed_sizes()
        if self.enable_large_batch_splitting:
            self._check_splitting()

    @property
    def execution_batch_rows(self) -> int:
        """The most rows that run together."""
        if self.enable_large_batch_splitting and self.max_execution_batch_rows is not None:
            return self.max_execution_batch_rows
        return self.max_batch_rows

    def processed_rows(self, rows: int) -> int:
        """Return the size that a batch of `rows` is padded to."""
        if not self.allowed_batch_rows:
            return rows
        return min((size for size in self.allowed_batch_rows if size >= rows), default=rows)

    def choose_num_batch_threads(self, cpus: int) -> int:
        """Return how many batches run at a time on a machine with `cpus` to use."""
        return self.num_batch_threads or max(1, cpus)

    def _check_numbers(self) -> None:
        if self.max_batch_rows < 1:
            raise InvalidArgument(
                f"input_batch_size_limit must be positive; was {self.max_batch_rows}"
            )
        if self.batch_timeout_s < 0:
            micros = round(self.batch_timeout_s * 1e6)
            raise InvalidArgument(f"batch_timeout_micros must be non-negative; was {micros}")
        if self.max_enqueued_batches < 0:
            raise InvalidArgument(
                f"max_enqueued_batches must be non-negative; was {self.max_enqueued_batches}"
            )
        if self.num_batch_threads is not None and self.num_batch_threads < 1:
            raise InvalidArgument(
                f"num_batch_threads must be positive; was {self.num_batch_threads}"
            )

    def _check_allowed_sizes(self) -> None:
        if self.allowed_batch_rows and self.allowed_batch_rows[-1] != self.max_batch_rows:
            raise InvalidArgument(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{self.allowed_batch_rows[-1]}; expected {self.max_batch_rows}"
            )

    def _check_splitting(self) -> None:
        if self.execution_batch_rows < 1:
            raise InvalidArgument(
                f"max_execution_batch_size must be positive; was {self.execution_batch_rows}"
            )
        if self.max_batch_rows < self.execution_batch_rows:
            raise InvalidArgument(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be "
                "greater than or equal to max_execution_batch_size. They are "
                f"{self.max_batch_rows} and {self.execution_batch_rows}"
            )
