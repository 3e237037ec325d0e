from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.batching.pending import Batch, Pending
from sigrun.batching.queue import BatchQueue, share_out
from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument, Unavailable

Named = Pending[str]


def pending(
    name: str = "",
    *,
    rows: int = 1,
    at: float = 0.0,
    deadline: float | None = None,
    form: str = "same",
) -> Named:
    return Pending(
        [np.arange(rows)],
        rows=rows,
        form=form,
        enqueued_at=at,
        deadline=deadline,
        reply=name,
    )


def queue_of(*waiting: Named, **settings: float) -> BatchQueue[str]:
    queue: BatchQueue[str] = BatchQueue(BatchingOptions(**settings))  # type: ignore[arg-type]
    for one in waiting:
        queue.add(one)
    return queue


def take(queue: BatchQueue[str], now: float = 0.0) -> list[str]:
    batch, _ = queue.take(now)
    return names(batch)


def names(batch: Batch[str]) -> list[str]:
    return [one.reply for one in batch]


def values(batch: Batch[str]) -> list[tuple[str, list[int]]]:
    return [(one.reply, one.arrays[0].tolist()) for one in batch]


def test_whatever_waits_leaves_at_once_without_a_timeout() -> None:
    queue = queue_of(pending("a"), pending("b"))

    assert take(queue) == ["a", "b"]
    assert not queue


def test_nothing_leaves_an_empty_queue() -> None:
    queue = queue_of()

    assert queue.take(0.0) == ([], [])
    assert queue.due_at() is None


def test_a_batch_has_no_more_rows_than_allowed_and_keeps_the_order() -> None:
    queue = queue_of(pending("a", rows=2), pending("b", rows=3), pending("c"), max_batch_rows=4)

    assert take(queue) == ["a"]
    assert take(queue) == ["b", "c"]


def test_a_batch_leaves_when_its_oldest_request_is_due() -> None:
    queue = queue_of(pending("a", at=10.0), pending("b", at=10.5), batch_timeout_s=1.0)

    assert take(queue, now=10.9) == []
    assert queue.due_at() == 11.0
    assert take(queue, now=11.0) == ["a", "b"]


def test_a_full_batch_does_not_wait_until_it_is_due() -> None:
    queue = queue_of(pending("a"), pending("b"), max_batch_rows=2, batch_timeout_s=1.0)

    assert take(queue) == ["a", "b"]


def test_a_batch_that_the_next_request_does_not_fit_does_not_wait() -> None:
    queue = queue_of(
        pending("a", rows=2), pending("b", rows=3), max_batch_rows=4, batch_timeout_s=1.0
    )

    assert take(queue) == ["a"]
    assert take(queue) == []


def test_nothing_waits_for_company_once_a_second_batch_has_begun() -> None:
    queue = queue_of(
        *[pending(form, form=form) for form in "ab"], max_batch_rows=2, batch_timeout_s=1.0
    )
    before = take(queue)

    queue.add(pending("c", form="c"))

    assert (before, take(queue)) == ([], ["a"])


def test_requests_of_another_form_run_in_batches_of_their_own() -> None:
    queue = queue_of(
        pending("a", form="[2]", at=1),
        pending("b", form="[3]", at=2),
        pending("c", form="[2]", at=3),
    )

    assert take(queue) == ["a", "c"]
    assert take(queue) == ["b"]


def test_the_form_whose_oldest_request_came_first_goes_first() -> None:
    queue = queue_of(
        pending("a", form="[2]", at=1),
        pending("b", form="[3]", at=2),
        pending("c", form="[2]", at=3),
        max_batch_rows=1,
    )

    assert [take(queue), take(queue), take(queue)] == [["a"], ["b"], ["c"]]


def test_a_request_larger_than_a_batch_is_refused() -> None:
    queue = queue_of(max_batch_rows=4)

    with pytest.raises(
        InvalidArgument, match=r"^Task size 5 is larger than maximum input batch size 4$"
    ):
        queue.add(pending(rows=5))


def test_a_request_is_refused_when_it_would_begin_one_batch_too_many() -> None:
    queue = queue_of(pending(rows=3), pending(rows=3), max_batch_rows=4, max_enqueued_batches=2)
    queue.add(pending())

    with pytest.raises(Unavailable) as error:
        queue.add(pending())

    assert str(error.value) == (
        "The batch scheduling queue to which this task was submitted is full; currently 2 "
        "batches enqueued and max_enqueued_batches is 2"
    )


def test_a_batch_may_wait_even_where_none_is_allowed_to() -> None:
    queue = queue_of(pending("a"), max_batch_rows=1, max_enqueued_batches=0)

    with pytest.raises(Unavailable, match=r"max_enqueued_batches is 1$"):
        queue.add(pending("b"))
    assert take(queue) == ["a"]


def test_what_leaves_makes_room() -> None:
    queue = queue_of(
        pending("a", rows=3), pending("b", rows=3), max_batch_rows=4, max_enqueued_batches=2
    )

    queue.take(0.0)
    queue.add(pending("c", rows=3))

    assert take(queue) == ["b"]
    assert take(queue) == ["c"]


def test_who_gives_up_makes_room() -> None:
    gone = pending("gone", rows=4)
    queue = queue_of(gone, pending("a", rows=4), max_batch_rows=4, max_enqueued_batches=2)

    assert queue.remove(gone)
    queue.add(pending("b", rows=4))

    assert not queue.remove(gone)
    assert take(queue) == ["a"]


def test_expired_requests_leave_without_taking_room_in_a_batch() -> None:
    late, live = pending("late", rows=2, deadline=5.0), pending("live", rows=2, deadline=6.0)
    queue = queue_of(late, live, max_batch_rows=2)

    assert queue.take(5.0) == ([live], [late])


def test_requests_that_are_not_merged_leave_one_by_one() -> None:
    queue = queue_of(pending("a"), pending("b"), batch_timeout_s=1.0)
    queue.merges = False

    assert take(queue) == ["a"]
    assert take(queue) == ["b"]


def test_a_large_request_is_cut_where_a_batch_is_full() -> None:
    queue = queue_of(
        pending("a", rows=2),
        pending("b", rows=9),
        pending("c", rows=1),
        max_batch_rows=10,
        max_execution_batch_rows=4,
        enable_large_batch_splitting=True,
    )

    assert values(queue.take(0.0)[0]) == [("a", [0, 1]), ("b", [0, 1])]
    assert values(queue.take(0.0)[0]) == [("b", [2, 3, 4, 5])]
    assert values(queue.take(0.0)[0]) == [("b", [6, 7, 8]), ("c", [0])]
    assert queue.rows == 0


def test_what_is_left_of_a_request_can_be_removed() -> None:
    large = pending(rows=9)
    queue = queue_of(
        large,
        max_batch_rows=10,
        max_execution_batch_rows=4,
        enable_large_batch_splitting=True,
    )

    queue.take(0.0)

    assert queue.remove(large)
    assert queue.rows == 0


def test_a_queue_that_splits_refuses_more_rows_than_its_batches_hold() -> None:
    queue = queue_of(
        pending(rows=6),
        max_batch_rows=8,
        max_execution_batch_rows=4,
        max_enqueued_batches=3,
        enable_large_batch_splitting=True,
    )

    with pytest.raises(Unavailable) as error:
        queue.add(pending(rows=7))

    assert str(error.value) == (
        "The batch scheduling queue to which this task was submitted is full; task size is 7 "
        "but scheduling capacity is only 6 (num_enqueued_batches=2, max_enqueued_batches=3, "
        "open_batch_size=2, max_execution_batch_size=4)"
    )


def test_a_batch_is_shared_out_in_order() -> None:
    batch = [pending(name) for name in "abcde"]

    shares = share_out(batch, 2, BatchingOptions())

    assert [names(share) for share in shares] == [["a", "b"], ["c", "d"], ["e"]]


def test_shares_are_as_large_as_a_listed_size() -> None:
    batch = [pending(name) for name in "abcde"]
    options = BatchingOptions(max_batch_rows=8, allowed_batch_rows=(4, 8))

    shares = share_out(batch, 2, options)

    assert [names(share) for share in shares] == [["a", "b", "c", "d"], ["e"]]


def test_large_requests_are_cut_into_shares_where_they_may_be() -> None:
    batch = [pending("a", rows=1), pending("b", rows=5)]

    whole = share_out(batch, 2, BatchingOptions())
    cut = share_out(batch, 2, BatchingOptions(enable_large_batch_splitting=True))

    assert [names(share) for share in whole] == [["a", "b"]]
    assert [values(share) for share in cut] == [
        [("a", [0]), ("b", [0])],
        [("b", [1, 2])],
        [("b", [3, 4])],
    ]


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    rows=st.integers(1, 12),
    splits=st.booleans(),
)
def test_shares_hold_every_row_once_and_are_not_too_many(
    sizes: list[int], rows: int, splits: bool
) -> None:
    batch = [pending(str(number), rows=size) for number, size in enumerate(sizes)]

    shares = share_out(batch, rows, BatchingOptions(enable_large_batch_splitting=splits))

    held = [(name, row) for share in shares for name, of in values(share) for row in of]
    assert held == [(str(number), row) for number, size in enumerate(sizes) for row in range(size)]
    assert all(shares)
    assert len(shares) <= math.ceil(sum(sizes) / rows)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 6), st.sampled_from("xy")),
            st.tuples(st.just("take"), st.just(0), st.just("")),
            st.tuples(st.just("remove"), st.integers(0, 50), st.just("")),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_every_row_leaves_once_in_order_and_within_the_bounds(
    steps: list[tuple[str, int, str]], splits: bool
) -> None:
    queue = queue_of(
        max_batch_rows=6,
        max_execution_batch_rows=4,
        enable_large_batch_splitting=splits,
        max_enqueued_batches=3,
    )
    limit = 4 if splits else 6
    waiting: dict[str, Named] = {}
    expected: dict[str, list[int]] = {}
    left: dict[str, list[int]] = {}

    def take_one() -> None:
        batch, _ = queue.take(float(len(expected)))
        assert sum(one.rows for one in batch) <= limit
        assert len({one.form for one in batch}) <= 1
        for name, rows in values(batch):
            left.setdefault(name, []).extend(rows)

    for number, (step, value, form) in enumerate(steps):
        if step == "add":
            name = str(number)
            one = pending(name, rows=value, form=form, at=float(number))
            try:
                queue.add(one)
            except Unavailable:
                assert queue.rows + value > 3 * limit / 2
                continue
            waiting[name] = one
            expected[name] = list(range(value))
        elif step == "take":
            take_one()
        elif waiting:
            name = sorted(waiting)[value % len(waiting)]
            if queue.remove(waiting.pop(name)):
                expected[name] = left.get(name, [])
        assert queue.rows <= 3 * limit
    while queue:
        take_one()

    assert {name: rows for name, rows in expected.items() if rows} == left
    assert queue.rows == 0
    for _ in range(3):
        queue.add(pending(rows=limit))  # all of the room is there again
