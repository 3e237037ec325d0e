from __future__ import annotations

from typing import Any

import pytest

from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"max_batch_rows": 8, "allowed_batch_rows": (2, 4)},
            (
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; "
                "expected 8"
            ),
        ),
        (
            {
                "max_batch_rows": 8,
                "allowed_batch_rows": (2, 4),
                "enable_large_batch_splitting": True,
                "max_execution_batch_rows": 4,
            },
            (
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; "
                "expected 8"
            ),
        ),
        (
            {
                "max_batch_rows": 8,
                "enable_large_batch_splitting": True,
                "max_execution_batch_rows": 9,
            },
            (
                "When enable_large_batch_splitting is true, input_batch_size_limit must be greater "
                "than or equal to max_execution_batch_size. They are 8 and 9"
            ),
        ),
        (
            {"enable_large_batch_splitting": True, "max_execution_batch_rows": 0},
            "max_execution_batch_size must be positive; was 0",
        ),
        ({"max_batch_rows": 0}, "input_batch_size_limit must be positive; was 0"),
        ({"batch_timeout_s": -5e-6}, "batch_timeout_micros must be non-negative; was -5"),
        ({"max_enqueued_batches": -1}, "max_enqueued_batches must be non-negative; was -1"),
        ({"num_batch_threads": 0}, "num_batch_threads must be positive; was 0"),
    ],
)
def test_a_setting_that_cannot_be_kept_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        BatchingOptions(**settings)

    assert str(error.value) == text


def test_nothing_set_is_tensorflow_servings_defaults() -> None:
    options = BatchingOptions()

    assert options.max_batch_rows == 1000
    assert options.batch_timeout_s == 0
    assert options.max_enqueued_batches == 10
    assert options.thread_pool_name == "batch_threads"
    assert options.execution_batch_rows == 1000


def test_the_execution_limit_counts_only_when_large_batches_are_split() -> None:
    whole = BatchingOptions(max_batch_rows=8, max_execution_batch_rows=4)
    cut = BatchingOptions(
        max_batch_rows=8, max_execution_batch_rows=4, enable_large_batch_splitting=True
    )
    default = BatchingOptions(max_batch_rows=8, enable_large_batch_splitting=True)

    assert whole.execution_batch_rows == 8
    assert cut.execution_batch_rows == 4
    assert default.execution_batch_rows == 8


@pytest.mark.parametrize(("rows", "processed"), [(1, 2), (2, 2), (3, 4), (5, 8), (8, 8), (9, 9)])
def test_a_batch_is_padded_to_the_smallest_listed_size_that_holds_it(
    rows: int, processed: int
) -> None:
    options = BatchingOptions(max_batch_rows=8, allowed_batch_rows=(4, 2, 8))

    assert options.processed_rows(rows) == processed


def test_a_batch_is_not_padded_when_no_sizes_are_listed() -> None:
    assert BatchingOptions().processed_rows(3) == 3


@pytest.mark.parametrize(("given", "cpus", "chosen"), [(None, 8, 8), (None, 0, 1), (3, 8, 3)])
def test_there_are_as_many_batch_threads_as_cpus_unless_given(
    given: int | None, cpus: int, chosen: int
) -> None:
    assert BatchingOptions(num_batch_threads=given).choose_num_batch_threads(cpus) == chosen
