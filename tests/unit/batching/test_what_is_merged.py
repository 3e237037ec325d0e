"""Only what declares that it may is merged: no caller gets numbers made from another one's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sigrun.config.batching import BatchingOptions
from sigrun.tensors.signature import Array, DType, Signature
from tests.fakes.lifecycle import let_others_run
from tests.unit.batching.harness import Batching, declared, floats

pytestmark = pytest.mark.asyncio

FLOAT = DType.FLOAT
ROWS = (None,)
SCALAR = ()
PADDING = BatchingOptions(max_batch_rows=8, allowed_batch_rows=(4, 8))
SPLITTING = BatchingOptions(
    max_batch_rows=100, max_execution_batch_rows=4, enable_large_batch_splitting=True
)


def values(answer: Sequence[Array]) -> list[object]:
    return [array.tolist() for array in answer]


async def meet(
    batching: Batching, signature: Signature, *requests: Mapping[str, Array]
) -> list[list[object]]:
    """Send `requests` at once, and return what each is answered."""
    tasks = [batching.send(signature, inputs) for inputs in requests]
    return [values(await task) for task in tasks]


def less_mean(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {"y": inputs["x"] - inputs["x"].mean()}


def scaled(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {"y": inputs["x"] * inputs["scale"]}


@pytest.mark.parametrize("options", [BatchingOptions(), PADDING, SPLITTING])
async def test_an_input_of_a_fixed_first_dimension_is_never_merged(
    options: BatchingOptions,
) -> None:
    fixed = declared({"x": (FLOAT, (1, 2))}, {"y": (FLOAT, ROWS)})
    batching = Batching(options, signatures=[fixed], compute=less_mean)

    answers = await meet(batching, fixed, {"x": floats(1, 3)[None]}, {"x": floats(5, 15)[None]})

    assert answers == [[[[-1, 1]]], [[[-5, 5]]]]


async def test_a_table_beside_rows_keeps_a_signature_from_being_merged() -> None:
    lookup = declared({"x": (FLOAT, ROWS), "t": (FLOAT, (3,))}, {"y": (FLOAT, ROWS)})
    batching = Batching(
        signatures=[lookup], compute=lambda inputs: {"y": inputs["x"] + inputs["t"].sum()}
    )

    answers = await meet(
        batching,
        lookup,
        {"x": floats(1, 2, 3), "t": floats(1, 1, 1)},
        {"x": floats(1, 2, 3), "t": floats(2, 2, 2)},
    )

    assert answers == [[[4, 5, 6]], [[7, 8, 9]]]


@pytest.mark.parametrize("shape", [(4,), SCALAR, (4, None)])
async def test_an_output_without_an_open_first_dimension_is_not_divided(
    shape: tuple[int | None, ...],
) -> None:
    classes = np.zeros((4,) * len(shape), np.float32)
    labelled = declared({"x": (FLOAT, ROWS)}, {"y": (FLOAT, ROWS), "classes": (FLOAT, shape)})
    batching = Batching(
        signatures=[labelled], compute=lambda inputs: {"y": inputs["x"], "classes": classes}
    )

    answers = await meet(batching, labelled, *[{"x": floats(value)} for value in range(4)])

    assert answers == [[[value], classes.tolist()] for value in range(4)]


async def test_what_is_fetched_of_such_a_signature_without_that_output_is_merged() -> None:
    labelled = declared({"x": (FLOAT, ROWS)}, {"y": (FLOAT, ROWS), "classes": (FLOAT, (4,))})
    batching = Batching(signatures=[labelled], compute=lambda inputs: {"y": inputs["x"]})

    await asyncio.gather(
        *[batching.send(labelled, {"x": floats(value)}, ["y"]) for value in range(3)]
    )

    assert batching.sizes == [3]


async def test_unknown_ranks_count_as_open() -> None:
    unknown = declared({"x": (FLOAT, None)}, {"y": (FLOAT, None)})
    batching = Batching(signatures=[unknown])

    assert await meet(batching, unknown, {"x": floats(2)}, {"x": floats(4)}) == [[[3]], [[4]]]
    assert batching.sizes == [2]


async def test_signatures_that_declare_other_shapes_for_one_tensor_do_not_meet() -> None:
    opened = declared({"x": (FLOAT, ROWS)}, {"y": (FLOAT, ROWS)}, name="opened")
    fixed = declared({"x": (FLOAT, (2,))}, {"y": (FLOAT, (2,))}, name="fixed")
    batching = Batching(signatures=[opened, fixed], compute=less_mean)

    tasks = [
        batching.send(signature, {"x": x})
        for signature, x in ((opened, floats(3)), (fixed, floats(1, 3)), (fixed, floats(5, 7)))
    ]

    assert [values(await task) for task in tasks] == [[[0]], [[-1, 1]], [[-1, 1]]]


async def test_scalars_go_along_only_with_equal_ones() -> None:
    scaling = declared({"x": (FLOAT, ROWS), "scale": (FLOAT, SCALAR)}, {"y": (FLOAT, ROWS)})
    batching = Batching(signatures=[scaling], compute=scaled)
    two, three = np.array(2, np.float32), np.array(3, np.float32)

    answers = await meet(
        batching,
        scaling,
        {"x": floats(1), "scale": two},
        {"x": floats(1), "scale": three},
        {"x": floats(5, 6), "scale": two.copy()},
    )

    assert answers == [[[2]], [[3]], [[10, 12]]]
    assert batching.sizes == [3, 1]


async def test_scalar_strings_are_compared_and_long_ones_stay_alone() -> None:
    joining = declared({"x": (FLOAT, ROWS), "word": (DType.STRING, SCALAR)}, {"y": (FLOAT, ROWS)})
    batching = Batching(
        signatures=[joining],
        compute=lambda inputs: {"y": inputs["x"] + len(inputs["word"].item())},
    )
    words = [b"ab", b"abc", b"ab", b"x" * 5000, b"x" * 5000]

    answers = await meet(
        batching, joining, *[{"x": floats(1), "word": np.array(word, object)} for word in words]
    )

    assert answers == [[[1 + len(word)]] for word in words]
    assert sorted(batching.sizes) == [1, 1, 1, 2]


async def test_a_scalar_that_is_sent_as_a_vector_keeps_its_request_alone() -> None:
    scaling = declared({"x": (FLOAT, ROWS), "scale": (FLOAT, SCALAR)}, {"y": (FLOAT, ROWS)})
    batching = Batching(signatures=[scaling], compute=scaled)

    answers = await meet(
        batching,
        scaling,
        {"x": floats(1), "scale": floats(2)},
        {"x": floats(1), "scale": floats(3)},
    )

    assert answers == [[[2]], [[3]]]


async def test_scalars_are_fed_whole_to_the_pieces_of_a_large_request() -> None:
    scaling = declared({"x": (FLOAT, ROWS), "scale": (FLOAT, SCALAR)}, {"y": (FLOAT, ROWS)})
    batching = Batching(SPLITTING, signatures=[scaling], compute=scaled)

    answers = await meet(
        batching, scaling, {"x": floats(*range(9)), "scale": np.array(2, np.float32)}
    )

    assert answers == [[[2 * value for value in range(9)]]]
    assert batching.sizes == [4, 4, 1]


async def test_an_input_of_another_rank_than_declared_runs_alone() -> None:
    matrix = declared({"x": (FLOAT, (None, 2))}, {"y": (FLOAT, (None, 2))})
    batching = Batching(signatures=[matrix], compute=less_mean)

    answers = await meet(batching, matrix, {"x": floats(1, 3)}, {"x": floats(5, 15)})

    assert answers == [[[-1, 1]], [[-5, 5]]]


async def test_a_scalar_for_an_input_of_unknown_rank_runs_alone() -> None:
    unknown = declared({"x": (FLOAT, None)}, {"y": (FLOAT, None)})
    batching = Batching(signatures=[unknown])
    two, four = np.array(2, np.float32), np.array(4, np.float32)

    assert await meet(batching, unknown, {"x": two}, {"x": four}) == [[3], [4]]


async def test_inputs_of_different_numbers_of_rows_are_left_to_the_model() -> None:
    crossed = declared({"a": (FLOAT, ROWS), "b": (FLOAT, ROWS)}, {"y": (FLOAT, ROWS)})
    batching = Batching(
        signatures=[crossed], compute=lambda inputs: {"y": inputs["a"] + inputs["b"].sum()}
    )
    request = {"a": floats(1, 2, 3), "b": floats(4, 5)}

    assert await meet(batching, crossed, request, request) == [[[10, 11, 12]]] * 2


async def test_a_signature_without_inputs_runs() -> None:
    constant = declared({}, {"y": (FLOAT, ROWS)})
    batching = Batching(signatures=[constant], compute=lambda _: {"y": floats(1, 2)})

    assert await meet(batching, constant, {}, {}) == [[[1, 2]]] * 2


async def test_a_request_without_rows_runs_alone() -> None:
    batching = Batching(PADDING)

    answers = [batching.ask(), batching.ask(2), batching.ask()]

    assert [values(await answer) for answer in answers] == [[[]], [[3]], [[]]]
    assert sorted(batching.sizes) == [0, 0, 4]


async def test_strings_are_divided_among_their_callers() -> None:
    naming = declared({"x": (FLOAT, ROWS)}, {"y": (DType.STRING, ROWS)})
    batching = Batching(
        signatures=[naming],
        compute=lambda inputs: {
            "y": np.array([b"<%d>" % int(value) for value in inputs["x"]], object)
        },
    )

    answers = await meet(batching, naming, {"x": floats(1)}, {"x": floats(2, 3)})

    assert answers == [[[b"<1>"]], [[b"<2>", b"<3>"]]]
    assert batching.sizes == [3]


async def test_requests_that_cannot_be_merged_do_not_wait_for_company() -> None:
    fixed = declared({"x": (FLOAT, (1,))}, {"y": (FLOAT, (1,))})
    matrix = declared({"x": (FLOAT, (None, 2))}, {"y": (FLOAT, ROWS)}, name="matrix")
    batching = Batching(BatchingOptions(batch_timeout_s=10), signatures=[fixed, matrix])

    tasks = [batching.send(fixed, {"x": floats(2)}), batching.send(matrix, {"x": floats(2)})]
    await let_others_run()

    assert [values(task.result()) for task in tasks] == [[[3]], [[3]]]


async def test_requests_that_cannot_be_merged_wait_within_the_same_bound() -> None:
    fixed = declared({"x": (FLOAT, (1,))}, {"y": (FLOAT, (1,))})
    batching = Batching(
        BatchingOptions(max_batch_rows=2, max_enqueued_batches=2), signatures=[fixed]
    )
    batching.inner.gate.clear()
    tasks = [batching.send(fixed, {"x": floats(2)}) for _ in range(6)]
    await let_others_run()

    refused = [task for task in tasks if task.done()]
    batching.inner.gate.set()
    await asyncio.wait(tasks)

    (text,) = {str(task.exception()) for task in refused}
    assert len(refused) == 1
    assert text.startswith("The batch scheduling queue to which this task was submitted is full")
    assert text.endswith("(signature serving_default of mnist:3; 4 requests wait)")


async def test_lengths_are_padded_only_where_they_are_declared_open() -> None:
    fixed = declared({"x": (FLOAT, (None, 3))}, {"y": (FLOAT, (None, 3))})
    batching = Batching(BatchingOptions(pad_variable_length_inputs=True), signatures=[fixed])

    await meet(batching, fixed, {"x": np.ones((1, 2), np.float32)}, {"x": np.ones((1, 3), "f4")})

    assert [inputs["x"].shape for _, inputs, _, _ in batching.inner.runs] == [(1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("specs", "text"),
    [
        (
            ({"x": (FLOAT, (1, 2))}, {"y": (FLOAT, ROWS)}),
            "input 'x' is declared DT_FLOAT [1,2], whose first dimension is fixed",
        ),
        (
            ({"x": (FLOAT, ROWS)}, {"y": (FLOAT, SCALAR)}),
            "output 'y' is declared DT_FLOAT [], without a first dimension",
        ),
        (
            ({"x": (FLOAT, SCALAR)}, {"y": (FLOAT, ROWS)}),
            "no input has a first dimension",
        ),
        (({}, {"y": (FLOAT, ROWS)}), "no input has a first dimension"),
    ],
)
async def test_why_a_signature_is_not_merged_is_said_once_when_it_is_loaded(
    specs: tuple[Mapping[str, tuple[DType, tuple[int | None, ...] | None]], ...],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="sigrun.batching")

    batching = Batching(signatures=[declared(*specs)], compute=lambda _: {"y": floats(1)})
    loaded = caplog.messages.copy()
    inputs = {alias: floats(1) for alias in specs[0]}
    await meet(batching, declared(*specs), inputs, inputs)

    assert loaded == [f"Requests for signature serving_default of mnist:3 run one by one: {text}"]
    assert caplog.messages == loaded
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def first_rows(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return an answer that is declared to have rows, and has two whatever is asked."""
    return {"y": inputs["x"].sum() + floats(0, 1)}


async def test_outputs_that_turn_out_to_have_no_rows_are_computed_again_for_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batching = Batching(compute=first_rows)

    first = [batching.ask(1), batching.ask(2, 3), batching.ask(7)]
    together = [values(await task) for task in first]
    one_by_one = [values(await batching.ask(value)) for value in (1, 2)]

    assert together == [[[1, 2]], [[5, 6]], [[7, 8]]]
    assert one_by_one == [[[1, 2]], [[2, 3]]]
    text = "run one by one from now on: an output of shape [2] came back for 4 rows"
    assert caplog.messages == [f"Requests for signature serving_default of mnist:3 {text}"]


async def test_a_scalar_output_that_was_not_declared_is_computed_again_for_each() -> None:
    batching = Batching(compute=lambda inputs: {"y": inputs["x"].sum()})

    answers = [batching.ask(1), batching.ask(2, 3)]

    assert [values(await answer) for answer in answers] == [[1], [5]]
    assert values(await batching.ask(4)) == [4]


async def test_padding_is_left_away_where_outputs_turn_out_to_have_no_rows() -> None:
    batching = Batching(PADDING, compute=first_rows)

    assert values(await batching.ask(5)) == [[5, 6]]
    assert values(await batching.ask(6)) == [[6, 7]]


async def test_a_run_of_one_request_shows_that_outputs_have_no_rows() -> None:
    """Of the next requests two meet, whose rows are as many as the outputs always are."""
    batching = Batching(compute=first_rows)
    await batching.ask(1)

    answers = [batching.ask(2), batching.ask(3)]

    assert [values(await answer) for answer in answers] == [[[2, 3]], [[3, 4]]]


async def test_a_large_request_is_run_whole_where_its_pieces_have_no_rows() -> None:
    batching = Batching(SPLITTING, compute=first_rows, runners=2)

    large, small = batching.ask(*range(10)), batching.ask(1)

    assert values(await large) == [[45, 46]]
    assert values(await small) == [[1, 2]]
    assert batching.runners_are_idle()


async def test_a_piece_that_ran_well_does_not_count_once_another_one_had_no_rows() -> None:
    """The first piece has four rows and as many outputs, the second one has not."""

    def four_rows(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"].sum() + floats(0, 1, 2, 3)}

    batching = Batching(SPLITTING, compute=four_rows)

    assert values(await batching.ask(1, 1, 1, 1, 1, 1)) == [[6, 7, 8, 9]]
    assert not batching.statistics().waiting_requests
