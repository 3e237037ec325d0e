from __future__ import annotations

from sigrun.batching.lessons import Lessons


def batches_before_the_next(lessons: Lessons) -> int:
    batches = 1
    while not lessons.merged():
        batches += 1
    lessons.begin()
    return batches


def test_a_lesson_is_a_few_requests_in_a_row() -> None:
    lessons = Lessons()
    before = lessons.takes()

    lessons.begin()

    assert not before
    assert [lessons.takes() for _ in range(18)] == [True] * 16 + [False] * 2


def test_lessons_that_change_nothing_become_rare() -> None:
    lessons = Lessons()

    assert [batches_before_the_next(lessons) for _ in range(7)] == [24, 48, 96, 192, 384, 384, 384]


def test_a_lesson_that_changed_something_ends_and_makes_the_next_ones_frequent() -> None:
    lessons = Lessons()
    for _ in range(3):
        batches_before_the_next(lessons)

    lessons.changed_something()

    assert not lessons.takes()
    assert batches_before_the_next(lessons) == 24
