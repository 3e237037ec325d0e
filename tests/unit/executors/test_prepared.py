from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sigrun.errors import InvalidArgument, Unavailable
from sigrun.executors.prepared import (
    Call,
    Names,
    PreparedCalls,
    input_bytes,
    prepare,
    tensor_names,
)
from sigrun.tensors.signature import DType, Signature, TensorSpec


class FakeExecutor:
    """Answers with the name of each fetch and the arrays that were fed."""

    def __init__(self) -> None:
        self.made: list[tuple[Names, Names]] = []

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        self.made.append((feeds, fetches))

        def call(arrays: Sequence[Any]) -> list[Any]:
            return [np.array(f"{fetch} of {[int(a) for a in arrays]}") for fetch in fetches]

        return call


def spec(name: str) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT, shape=())


def run(call: Call, *values: int) -> list[str]:
    return [str(array) for array in call([np.array(value) for value in values])]


def test_names_are_in_the_order_of_the_inputs_and_of_the_wanted_outputs() -> None:
    signature = Signature(
        name="s",
        method_name="",
        inputs={"b": spec("in_b:0"), "a": spec("in_a:0")},
        outputs={"x": spec("x:0"), "y": spec("y:0"), "z": spec("z:0")},
    )

    assert tensor_names(signature, ["z", "x"]) == (("in_b:0", "in_a:0"), ("z:0", "x:0"))


@pytest.mark.parametrize(
    ("inputs", "outputs", "made", "answers"),
    [
        (("a", "b"), ("x", "y"), (("a", "b"), ("x", "y")), ["x of [1, 2]", "y of [1, 2]"]),
        (("a", "a"), ("x",), (("a",), ("x",)), ["x of [1]"]),
        (("a", "b"), ("x", "x"), (("a", "b"), ("x",)), ["x of [1, 2]", "x of [1, 2]"]),
        (("a", "b"), ("b", "x"), (("a", "b"), ("x",)), ["2", "x of [1, 2]"]),
    ],
    ids=["plain", "one tensor fed twice", "one tensor fetched twice", "fed and fetched"],
)
def test_each_tensor_is_fed_or_fetched_once(
    inputs: Names, outputs: Names, made: tuple[Names, Names], answers: list[str]
) -> None:
    executor = FakeExecutor()

    call = prepare(inputs, outputs, executor.make_call)

    assert run(call, 1, 2) == answers
    assert executor.made == [made]


def test_what_is_fed_comes_back_without_a_run() -> None:
    executor = FakeExecutor()

    assert run(prepare(("a",), ("a",), executor.make_call), 1) == ["1"]
    assert executor.made == []


def test_a_tensor_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="sparse or composite"):
        prepare(("",), ("x",), FakeExecutor().make_call)


def test_a_kept_call_is_made_once() -> None:
    executor = FakeExecutor()
    calls = PreparedCalls(executor.make_call, max_extra=1)
    calls.keep(("a",), ("x",))

    for _ in range(3):
        calls.get(("a",), ("x",))
        calls.get(("a",), ("y",))
        calls.get(("a",), ("z",))

    assert executor.made.count((("a",), ("x",))) == 1


def test_the_call_that_was_not_used_for_longest_is_given_up() -> None:
    executor = FakeExecutor()
    calls = PreparedCalls(executor.make_call, max_extra=2)

    for output in ("x", "y", "x", "z", "x", "y"):
        calls.get(("a",), (output,))

    assert [fetches for _, fetches in executor.made] == [("x",), ("y",), ("z",), ("y",)]


def test_a_call_that_cannot_be_made_is_tried_again() -> None:
    def make_call(_feeds: Names, _fetches: Names) -> Call:
        raise InvalidArgument("no such tensor")

    calls = PreparedCalls(make_call)

    for _ in range(2):
        with pytest.raises(InvalidArgument, match="no such tensor"):
            calls.get(("a",), ("x",))


def test_after_clearing_nothing_can_be_called() -> None:
    calls = PreparedCalls(FakeExecutor().make_call)
    calls.keep(("a",), ("x",))

    calls.clear()

    for outputs in (("x",), ("y",)):
        with pytest.raises(Unavailable, match="unloaded"):
            calls.get(("a",), outputs)


def test_only_calls_that_are_there_are_found() -> None:
    executor = FakeExecutor()
    calls = PreparedCalls(executor.make_call)
    calls.keep(("a",), ("x",))

    assert calls.find(("a",), ("x",)) is calls.get(("a",), ("x",))
    assert calls.find(("a",), ("y",)) is None
    made = calls.get(("a",), ("y",))
    assert calls.find(("a",), ("y",)) is made
    assert executor.made == [(("a",), ("x",)), (("a",), ("y",))]


def test_nobody_waits_to_find_a_call_while_another_is_made() -> None:
    found = []

    def make_call(_feeds: Names, fetches: Names) -> Call:
        if fetches == ("z",):
            found.append(calls.find(("a",), ("y",)))
        return FakeExecutor().make_call((), fetches)

    calls = PreparedCalls(make_call)
    calls.get(("a",), ("y",))
    calls.get(("a",), ("z",))

    assert found == [None]


def test_a_call_that_is_found_is_not_given_up_soon() -> None:
    executor = FakeExecutor()
    calls = PreparedCalls(executor.make_call, max_extra=2)
    calls.get(("a",), ("x",))
    calls.get(("a",), ("y",))

    calls.find(("a",), ("x",))
    calls.get(("a",), ("z",))

    assert calls.find(("a",), ("x",)) is not None
    assert calls.find(("a",), ("y",)) is None


def test_only_what_may_be_inline_has_a_placement() -> None:
    calls = PreparedCalls(FakeExecutor().make_call, frozenset({"x", "y"}).issuperset)

    assert calls.get(("a",), ("x",)).placement is not None
    assert calls.get(("a",), ("y", "x")).placement is not None
    assert calls.get(("a",), ("x", "slow")).placement is None


def test_strings_count_as_long_as_they_are() -> None:
    pointers = np.array([b"", b""], dtype=object).nbytes

    assert input_bytes([]) == 0
    assert input_bytes([np.zeros((2, 3), np.float32), np.zeros(1, np.int8)]) == 25
    assert input_bytes([np.array([[b"a" * 1000], [b"bc"]], dtype=object)]) == pointers + 1002


def test_calls_that_are_made_anew_keep_what_is_known_of_their_runs() -> None:
    old, new = FakeExecutor(), FakeExecutor()
    calls = PreparedCalls(old.make_call, lambda _: True)
    calls.keep(("a",), ("x",))
    calls.get(("a",), ("y",))

    renewed = calls.renewed(new.make_call)

    kept, before = renewed.find(("a",), ("x",)), calls.find(("a",), ("x",))
    assert kept is not None
    assert before is not None
    assert kept.placement is before.placement
    assert new.made == [(("a",), ("x",))]
    assert renewed.find(("a",), ("y",)) is None
