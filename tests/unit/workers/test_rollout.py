"""Workers are told in steps, and what all have done is what counts."""

from __future__ import annotations

from sigrun.workers.rollout import Rollout, Step

Told = Rollout[str, int]


def rollout(*workers: str) -> Told:
    told = Told()
    for worker in workers:
        told.add(worker)
        told.join(worker)
    return told


def make_step(told: Told, worker: str) -> Step[int]:
    step = told.next_step(worker)
    assert step is not None
    told.confirm(worker, step)
    return step


def test_a_change_is_done_when_every_worker_has_made_it() -> None:
    told = rollout("a", "b")
    told.set("m", 1)

    make_step(told, "a")
    assert told.done < told.number

    make_step(told, "b")
    assert told.done == told.number


def test_what_is_the_case_already_is_no_change() -> None:
    told = rollout("a")
    assert told.set("m", 1)
    make_step(told, "a")

    assert not told.set("m", 1)

    assert told.next_step("a") is None


def test_what_changes_while_a_worker_is_busy_is_one_step_afterwards() -> None:
    told = rollout("a")
    told.set("m", 1)
    first = told.next_step("a")
    assert first is not None

    told.set("m", 2)
    told.set("m", 3)
    told.set("n", 4)
    assert told.next_step("a") is None, "it has not confirmed the first"
    told.confirm("a", first)

    assert make_step(told, "a").entries == {"m": 3, "n": 4}
    assert told.done == told.number


def test_a_step_holds_only_what_the_worker_does_not_know() -> None:
    told = rollout("a")
    told.set("m", 1)
    make_step(told, "a")

    told.set("n", 2)

    assert make_step(told, "a").entries == {"n": 2}


def test_a_new_worker_is_told_everything_and_not_waited_for_before_it_joins() -> None:
    told = rollout("a")
    told.set("m", 1)
    make_step(told, "a")
    told.set("m", 2)
    make_step(told, "a")

    told.add("b")
    assert told.done == told.number
    assert make_step(told, "b").entries == {"m": 2}
    told.join("b")
    told.set("m", 3)
    make_step(told, "a")

    assert told.done < told.number


def test_a_worker_that_has_gone_holds_nothing_up() -> None:
    told = rollout("a", "b")
    told.set("m", 1)
    make_step(told, "a")

    told.remove("b")

    assert told.done == told.number
    assert told.next_step("b") is None


def test_without_workers_nothing_is_waited_for() -> None:
    told = rollout()

    told.set("m", 1)

    assert told.done == told.number
