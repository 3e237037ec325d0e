from __future__ import annotations

import pytest

from sigrun.concurrency.fair_queue import FairQueue, Share
from sigrun.errors import Unavailable

Queue = FairQueue[str]


def queue_of(places: int, *, spare_places: int = 8, patience_s: float = 0.0) -> Queue:
    return FairQueue(places=places, spare_places=spare_places, patience_s=patience_s)


def owner(name: str, max_waiting: int = 100) -> Share[str]:
    return Share(name, max_waiting)


def add(queue: Queue, share: Share[str], *jobs: str, now: float = 0.0) -> None:
    for job in jobs:
        queue.add(share, job, now, None)


def taken(queue: Queue, now: float = 0.0) -> list[str]:
    """Return all that may begin now."""
    jobs = []
    while (job := queue.take(now)) is not None:
        jobs.append(job)
    return jobs


def test_jobs_of_one_owner_begin_in_order_as_far_as_there_are_places() -> None:
    queue, one = queue_of(2), owner("one")
    add(queue, one, "a", "b", "c")

    assert taken(queue) == ["a", "b"]
    assert queue.waiting == 1
    queue.end(one, 0.0)
    assert taken(queue) == ["c"]


def test_owners_take_turns() -> None:
    queue, one, other = queue_of(4), owner("one"), owner("other")
    add(queue, one, "a1", "a2", "a3")
    add(queue, other, "b1", "b2", "b3")

    assert taken(queue) == ["a1", "b1", "a2", "b2"]


def test_a_free_place_goes_to_who_has_fewest_running() -> None:
    queue, busy, new = queue_of(3, spare_places=0), owner("busy"), owner("new")
    add(queue, busy, "a1", "a2", "a3", "a4")
    assert taken(queue) == ["a1", "a2", "a3"]
    add(queue, new, "b1", "b2")

    queue.end(busy, 0.0)

    assert taken(queue) == ["b1"]


def test_an_owner_of_whom_nothing_runs_gets_a_spare_place_and_only_one() -> None:
    queue, stuck, new = queue_of(2), owner("stuck"), owner("new")
    add(queue, stuck, "a1", "a2", "a3")
    assert taken(queue) == ["a1", "a2"]

    add(queue, new, "b1", "b2")

    assert taken(queue) == ["b1"]
    queue.end(new, 0.0)
    assert taken(queue) == ["b2"]


def slow_owner_with_a_run_beside(neighbour_came_at: float | None) -> tuple[Queue, Share[str]]:
    """Return a queue of two places, one of which a slow owner has; it wants the other one too."""
    queue, slow, neighbour = queue_of(2), owner("slow"), owner("neighbour")
    slow.has_taken(0.1)
    if neighbour_came_at is not None:
        add(queue, neighbour, "b1", now=neighbour_came_at)
        assert taken(queue) == ["b1"]
        queue.end(neighbour, 0.001)
    add(queue, slow, "a1", "a2", now=100.0)
    return queue, slow


def test_who_is_slow_leaves_the_last_place_to_a_neighbour_who_was_active_of_late() -> None:
    queue, slow = slow_owner_with_a_run_beside(neighbour_came_at=95.0)

    assert taken(queue, now=100.0) == ["a1"]
    queue.end(slow, 0.1)
    assert taken(queue, now=100.1) == ["a2"]  # it always has one
    add(queue, slow, "a3", now=106.0)
    assert taken(queue, now=106.0) == ["a3"]  # the neighbour has not come back


@pytest.mark.parametrize("neighbour_came_at", [None, 80.0])
def test_who_is_slow_has_every_place_while_nobody_else_is_active(
    neighbour_came_at: float | None,
) -> None:
    queue, _ = slow_owner_with_a_run_beside(neighbour_came_at)

    assert taken(queue, now=100.0) == ["a1", "a2"]


def test_who_is_quick_takes_the_last_place_as_it_is_free_again_soon() -> None:
    queue, slow = slow_owner_with_a_run_beside(neighbour_came_at=95.0)
    slow.mean_s = 0.001

    assert taken(queue, now=100.0) == ["a1", "a2"]


def test_spare_places_are_limited() -> None:
    queue = queue_of(1, spare_places=2)
    for number in range(5):
        add(queue, owner(f"owner {number}"), str(number))

    assert taken(queue) == ["0", "1", "2"]


def test_with_patience_a_spare_place_is_given_only_after_a_while() -> None:
    queue, slow, new = queue_of(1, patience_s=60.0), owner("slow"), owner("new")
    add(queue, slow, "a", now=0.0)
    assert taken(queue, now=0.0) == ["a"]
    add(queue, new, "b", now=1.0)

    assert taken(queue, now=60.9) == []
    assert taken(queue, now=61.0) == ["b"]


def test_what_is_written_off_takes_no_place() -> None:
    queue, one = queue_of(1), owner("one")
    add(queue, one, "a", "b")
    assert taken(queue) == ["a"]

    queue.write_off(one)

    assert (one.running, one.written_off) == (0, 1)
    assert taken(queue) == ["b"]


def test_each_owner_has_a_queue_with_a_bound_of_its_own() -> None:
    queue, one, other = queue_of(1), owner("one", max_waiting=1), owner("other", max_waiting=1)
    add(queue, one, "a1")
    assert taken(queue) == ["a1"]
    add(queue, one, "a2")

    with pytest.raises(Unavailable, match="The queue of one is full: 1 wait for 1 threads"):
        add(queue, one, "a3")

    add(queue, other, "b1")


def test_what_could_not_begin_before_its_deadline_is_refused_when_it_comes() -> None:
    queue, slow = queue_of(1), owner("slow")
    add(queue, slow, "a", "b", "c")
    assert taken(queue) == ["a"]
    queue.end(slow, 2.0)  # what a run takes
    assert taken(queue) == ["b"]

    with pytest.raises(Unavailable, match=r"1 wait, which takes 2 s, and the deadline is in 1.5 s"):
        queue.add(slow, "d", 10.0, 11.5)

    queue.add(slow, "e", 10.0, 12.5)
    assert queue.waiting == 2


def test_what_has_no_deadline_is_refused_when_the_wait_would_be_too_long() -> None:
    queue, slow = queue_of(1), owner("slow")
    add(queue, slow, "a", "b", "c")
    assert taken(queue) == ["a"]
    queue.end(slow, 2.0)
    assert taken(queue) == ["b"]

    text = r"1 wait, which takes 2 s, and no call .* longer than 1.5 s \(--max_queue_seconds\)"
    with pytest.raises(Unavailable, match=text):
        queue.add(slow, "d", 10.0, None, longest_wait_s=1.5)

    queue.add(slow, "e", 10.0, None, longest_wait_s=2.5)
    assert queue.waiting == 2


def test_nobody_is_refused_for_time_while_nothing_waits() -> None:
    queue, slow = queue_of(1), owner("slow")
    slow.has_taken(100.0)

    queue.add(slow, "a", 0.0, 0.1)

    assert taken(queue) == ["a"]


def test_later_runs_count_for_more_in_what_a_run_takes() -> None:
    share = owner("one")
    share.has_taken(8.0)
    assert share.mean_s == 8.0

    for _ in range(50):
        share.has_taken(1.0)

    assert share.mean_s == pytest.approx(1.0, rel=0.1)


def test_who_leaves_gives_the_turn_to_the_next() -> None:
    queue, one, other = queue_of(1, spare_places=0), owner("one"), owner("other")
    add(queue, one, "a")
    add(queue, other, "b")

    assert queue.remove(one, "a")
    assert not queue.remove(one, "a")

    assert taken(queue) == ["b"]
    assert queue.waiting == 0


def test_clearing_lets_everything_leave() -> None:
    queue, one, other = queue_of(1), owner("one"), owner("other")
    add(queue, one, "a1", "a2")
    add(queue, other, "b1")

    assert queue.clear() == ["a1", "a2", "b1"]

    assert taken(queue) == []
    assert queue.waiting == 0
