from __future__ import annotations

import numpy as np
import pytest

from sigrun.batching.merging import MergeRule, merge_rule
from sigrun.tensors.signature import Array, DType
from tests.unit.batching.harness import declared

Shape = tuple[int | None, ...] | None

FLOAT = DType.FLOAT


def rule(*inputs: Shape, outputs: tuple[Shape, ...] = ((None,),), pad: bool = False) -> MergeRule:
    signature = declared(
        {f"x{number}": (FLOAT, shape) for number, shape in enumerate(inputs)},
        {f"y{number}": (FLOAT, shape) for number, shape in enumerate(outputs)},
    )
    names = [spec.name for spec in signature.inputs.values()]
    return merge_rule(signature, tuple(signature.outputs), names, pad=pad)


def zeros(*shapes: tuple[int, ...]) -> list[Array]:
    return [np.zeros(shape, np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (((None,),), ((None,),)),
        ((None,), (None,)),
        (((None, 3), ()), ((None, None),)),
    ],
)
def test_what_is_open_everywhere_is_merged(
    inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]
) -> None:
    assert rule(*inputs, outputs=outputs).merges


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (((1,),), ((None,),)),
        (((None,), (3,)), ((None,),)),
        (((None,),), ((4,),)),
        (((None,),), ((),)),
        (((None,),), ((None,), ())),
        (((),), ((None,),)),
        ((), ((None,),)),
    ],
)
def test_what_is_not_is_not_merged(inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> None:
    assert not rule(*inputs, outputs=outputs).merges


@pytest.mark.parametrize(
    ("inputs", "shapes", "rows"),
    [
        (((None,),), [(3,)], 3),
        (((None,),), [(0,)], 0),
        (((None,),), [()], 0),
        (((None,),), [(3, 1)], 0),
        (((None, 1),), [(3,)], 0),
        ((None,), [(3, 4, 5)], 3),
        ((None,), [()], 0),
        (((None,), ()), [(3,), ()], 3),
        (((None,), ()), [(1,), (1,)], 0),
        (((None,), (None, 2)), [(3,), (3, 2)], 3),
        (((None,), (None, 2)), [(3,), (2, 2)], 0),
        (((1,),), [(1,)], 0),
    ],
)
def test_a_request_has_rows_if_it_is_as_declared(
    inputs: tuple[Shape, ...], shapes: list[tuple[int, ...]], rows: int
) -> None:
    assert rule(*inputs).rows(zeros(*shapes)) == rows


def test_no_request_has_rows_once_nothing_is_merged() -> None:
    stopped = rule((None,)).without_merging("no more")

    assert (stopped.rows(zeros((3,))), stopped.objection) == (0, "no more")


def test_requests_have_the_same_form_if_they_differ_in_rows_only() -> None:
    free = rule((None, None), (None, None, None))
    first, second, third = (
        free.form(zeros(*shapes))
        for shapes in (
            [(1, 2), (1, 3, 4)],
            [(9, 2), (9, 3, 4)],
            [(1, 2), (1, 3, 5)],
        )
    )

    assert first == second
    assert first != third


def test_with_padding_requests_have_the_same_form_if_the_ranks_agree() -> None:
    free = rule(None, pad=True)

    assert free.form(zeros((1, 2))) == free.form(zeros((4, 9)))
    assert free.form(zeros((1, 2))) != free.form(zeros((1,)))


def test_with_padding_sizes_that_are_declared_must_be_right() -> None:
    half_fixed = rule((None, None, 3), pad=True)

    assert half_fixed.form(zeros((1, 2, 3))) == half_fixed.form(zeros((1, 7, 3)))
    assert half_fixed.form(zeros((1, 2, 3))) != half_fixed.form(zeros((1, 2, 4)))


@pytest.mark.parametrize("shape", [(1, 0), (1, 2, 2, 2, 2, 2, 2)])
def test_what_cannot_be_padded_has_the_form_of_its_shape(shape: tuple[int, ...]) -> None:
    free = rule(None, pad=True)
    longer = (*shape[:-1], shape[-1] + 1)

    assert free.form(zeros(shape)) == free.form(zeros(shape))
    assert free.form(zeros(shape)) != free.form(zeros(longer))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (1.0, 1.0, True),
        (1.0, 2.0, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
    ],
)
def test_scalars_must_be_equal(one: float, other: float, meet: bool) -> None:
    scaled = rule((None,), ())
    (x,) = zeros((1,))

    forms = [scaled.form([x, np.array(value, np.float32)]) for value in (one, other)]

    assert (forms[0] == forms[1]) is meet


def test_a_long_string_has_no_form() -> None:
    named = rule((None,), ())
    (x,) = zeros((1,))

    assert named.form([x, np.array(b"short", object)]) is not None
    assert named.form([x, np.array(b"long" * 1000, object)]) is None
