from __future__ import annotations

import pytest

from sigrun.batching.batch import IndivisibleOutputs
from sigrun.batching.pending import Batch, Pending
from sigrun.batching.retry import next_parts
from sigrun.errors import Cancelled, DeadlineExceeded, Internal, InvalidArgument, Unavailable

BROKEN = InvalidArgument("broken")


def batch(names: str) -> Batch[str]:
    return [
        Pending([], rows=1, form="", enqueued_at=0.0, deadline=None, reply=name) for name in names
    ]


def parts(names: str, error: Exception, *, failed_requests: int | None = None) -> list[str]:
    found = next_parts(batch(names), error, failed_requests=failed_requests or len(names))
    return ["".join(pending.reply for pending in part) for part in found]


@pytest.mark.parametrize(
    ("names", "expected"),
    [("a", []), ("ab", ["a", "b"]), ("abc", ["a", "bc"]), ("abcd", ["ab", "cd"])],
)
@pytest.mark.parametrize("error", [BROKEN, Internal("broken"), ZeroDivisionError()])
def test_halves_run_again(names: str, expected: list[str], error: Exception) -> None:
    assert parts(names, error) == expected


def test_one_that_is_left_of_several_has_not_failed_by_itself() -> None:
    assert parts("a", BROKEN, failed_requests=2) == ["a"]


def test_nothing_runs_again_for_callers_who_have_gone() -> None:
    assert parts("", BROKEN, failed_requests=3) == []


@pytest.mark.parametrize("error", [Unavailable("full"), DeadlineExceeded(), Cancelled("gone")])
def test_what_says_nothing_about_the_requests_is_the_answer_to_all(error: Exception) -> None:
    assert parts("abcd", error) == []


@pytest.mark.parametrize(("names", "expected"), [("a", ["a"]), ("abc", ["a", "b", "c"])])
def test_where_outputs_cannot_be_divided_each_runs_by_itself(
    names: str, expected: list[str]
) -> None:
    assert parts(names, IndivisibleOutputs("no rows")) == expected
