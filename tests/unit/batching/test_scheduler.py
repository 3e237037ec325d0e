from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from sigrun.batching import batch, runs
from sigrun.config.batching import BatchingOptions
from sigrun.errors import (
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    SigrunError,
    Unavailable,
)
from sigrun.tensors.signature import Array, DType
from tests.fakes.lifecycle import let_others_run
from tests.fakes.servables import HALF_PLUS_TWO, half_plus_two
from tests.unit.batching.harness import Batching, declared, failing_on, floats

pytestmark = pytest.mark.asyncio


async def answers(*tasks: asyncio.Task[Sequence[Array]]) -> list[list[float]]:
    return [outputs[0].tolist() for outputs in await asyncio.gather(*tasks)]


async def outcome(task: asyncio.Task[Sequence[Array]]) -> list[float] | str:
    try:
        return list((await task)[0].tolist())
    except SigrunError as error:
        return f"{error.code.name}: {error}"


async def occupy(batching: Batching, rows: int = 1) -> asyncio.Task[Sequence[Array]]:
    """Hold a runner until the gate is opened."""
    batching.inner.gate.clear()
    before = len(batching.inner.runs)
    task = batching.ask(*range(rows))
    await let_others_run()
    assert len(batching.inner.runs) == before + 1
    return task


async def test_requests_that_arrive_together_run_together() -> None:
    batching = Batching()

    assert await answers(batching.ask(1), batching.ask(2, 3), batching.ask(4)) == [
        [2.5],
        [3, 3.5],
        [4],
    ]
    assert batching.sizes == [4]


async def test_a_request_that_is_alone_runs_with_its_own_arrays() -> None:
    batching = Batching()
    x = floats(1)

    await batching.send(HALF_PLUS_TWO, {"x": x})

    ((_, inputs, _, _),) = batching.inner.runs
    assert inputs["x"] is x


async def test_what_arrives_during_a_run_shares_the_next_one() -> None:
    batching = Batching()
    first = await occupy(batching)

    others = [batching.ask(value) for value in (2, 4, 6)]
    await let_others_run()
    batching.inner.gate.set()

    assert await answers(first, *others) == [[2], [3], [4], [5]]
    assert batching.sizes == [1, 3]


async def test_as_many_batches_run_at_once_as_there_are_runners() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=1), runners=2)
    batching.inner.gate.clear()

    tasks = [batching.ask(value) for value in range(3)]
    await let_others_run()
    at_once = len(batching.inner.runs)
    batching.inner.gate.set()
    await asyncio.gather(*tasks)

    assert (at_once, len(batching.inner.runs)) == (2, 3)


async def test_requests_that_arrive_in_one_turn_of_the_loop_share_one_run() -> None:
    batching = Batching(runners=2)

    await asyncio.gather(*[batching.ask(value) for value in range(64)])

    assert batching.sizes == [64]


async def test_requests_that_arrive_one_in_each_turn_share_runs() -> None:
    batching = Batching(runners=2, row_s=3.5e-5)  # neither short nor a long turn of the loop
    tasks = []

    for value in range(64):
        tasks.append(batching.ask(value))
        await asyncio.sleep(0)

    assert await answers(*tasks) == [[value / 2 + 2] for value in range(64)]
    assert len(batching.sizes) <= 12


async def test_a_flooded_slow_model_does_not_hold_up_its_neighbour() -> None:
    slow = Batching(BatchingOptions(max_batch_rows=1, max_enqueued_batches=100), runners=2)
    innocent = Batching(beside=slow)
    assert await answers(innocent.ask(2)) == [[3]]
    slow.inner.gate.clear()
    flood = [slow.ask(value) for value in range(50)]
    await let_others_run()

    assert await answers(innocent.ask(4)) == [[4]]
    assert len(slow.inner.runs) == 1
    slow.inner.gate.set()
    await asyncio.gather(*flood)


async def test_an_endless_run_does_not_hold_up_a_model_that_is_asked_for_the_first_time() -> None:
    endless = Batching(runners=2)
    other = Batching(beside=endless)
    endless.inner.gate.clear()
    stuck = [endless.ask(1)]
    await let_others_run()
    stuck.append(endless.ask(2))
    await let_others_run()

    assert await answers(other.ask(4)) == [[4]]
    endless.inner.gate.set()
    await asyncio.gather(*stuck)


async def test_a_timeout_lets_a_batch_wait_for_company() -> None:
    batching = Batching(BatchingOptions(batch_timeout_s=0.5))

    first = batching.ask(2)
    await let_others_run()
    batching.clock.advance(0.4)
    second = batching.ask(4)
    await let_others_run()
    before = list(batching.sizes)
    batching.clock.advance(0.1)

    assert await answers(first, second) == [[3], [4]]
    assert (before, batching.sizes) == ([], [2])


async def test_a_full_batch_does_not_wait_for_the_timeout() -> None:
    batching = Batching(BatchingOptions(batch_timeout_s=0.5, max_batch_rows=2))

    assert await answers(batching.ask(2), batching.ask(4)) == [[3], [4]]


async def test_a_request_past_its_deadline_is_not_run() -> None:
    batching = Batching()

    with pytest.raises(DeadlineExceeded, match=r"^Timed out waiting for notification$"):
        await batching.ask(1, deadline=batching.clock.now)

    assert batching.inner.runs == []


async def test_a_deadline_ends_the_wait_for_a_runner() -> None:
    batching = Batching()
    first = await occupy(batching)

    late = batching.ask(2, deadline=batching.clock.now + 1)
    await let_others_run()
    batching.clock.advance(1)

    assert await outcome(late) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
    batching.inner.gate.set()
    await first
    assert batching.sizes == [1]
    assert batching.statistics().given_up_requests == 1


async def test_a_deadline_ends_the_wait_for_company() -> None:
    batching = Batching(BatchingOptions(batch_timeout_s=10))

    late = batching.ask(2, deadline=batching.clock.now + 1)
    await let_others_run()
    batching.clock.advance(1)

    assert await outcome(late) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
    assert batching.inner.runs == []


async def test_a_deadline_ends_the_wait_for_a_batch_that_goes_on_for_others() -> None:
    batching = Batching()
    batching.inner.gate.clear()
    late = batching.ask(2, deadline=batching.clock.now + 1)
    patient = batching.ask(4, deadline=batching.clock.now + 5)
    await let_others_run()

    batching.clock.advance(1)

    assert await outcome(late) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
    batching.inner.gate.set()
    assert await outcome(patient) == [4]


@pytest.mark.parametrize(("deadlines", "expected"), [((1.0, 3.0, 2.0), 3.0), ((1.0, None), None)])
async def test_a_batch_has_the_latest_deadline_of_its_requests(
    deadlines: tuple[float | None, ...], expected: float | None
) -> None:
    batching = Batching()
    now = batching.clock.now

    await asyncio.gather(
        *[batching.ask(1, deadline=None if wait is None else now + wait) for wait in deadlines]
    )

    ((_, _, _, deadline),) = batching.inner.runs
    assert deadline == (None if expected is None else now + expected)


async def test_who_is_cancelled_while_waiting_costs_no_run() -> None:
    batching = Batching()
    first = await occupy(batching)

    gone, other = batching.ask(2), batching.ask(4)
    await let_others_run()
    gone.cancel()
    batching.inner.gate.set()

    assert await answers(first, other) == [[2], [4]]
    assert gone.cancelled()
    assert batching.sizes == [1, 1]


async def test_who_is_cancelled_leaves_the_batch_to_the_others() -> None:
    batching = Batching()
    batching.inner.gate.clear()
    gone, other = batching.ask(2), batching.ask(4)
    await let_others_run()

    gone.cancel()
    batching.inner.gate.set()

    assert await answers(other) == [[4]]
    assert batching.sizes == [2]


async def test_a_batch_that_everybody_left_is_cancelled_and_frees_its_runner() -> None:
    batching = Batching()
    batching.inner.gate.clear()
    gone = [batching.ask(2), batching.ask(4)]
    await let_others_run()

    for task in gone:
        task.cancel()
    await let_others_run()

    assert batching.runners_are_idle()


@pytest.mark.parametrize("turns", range(5))
async def test_a_request_may_be_cancelled_at_any_time_without_losing_a_runner(turns: int) -> None:
    batching = Batching()
    batching.inner.gate.clear()
    task = batching.ask(2)
    for _ in range(turns):
        await asyncio.sleep(0)

    task.cancel()
    await let_others_run()

    assert task.cancelled()
    assert batching.runners_are_idle()
    assert not batching.statistics().waiting_requests


async def test_only_the_request_that_is_bad_fails() -> None:
    batching = Batching(compute=failing_on(13, lambda: InvalidArgument("unlucky")))

    tasks = [batching.ask(value) for value in (2, 4, 13, 6, 8)]
    outcomes = [await outcome(task) for task in tasks]

    assert outcomes == [[3], [4], "INVALID_ARGUMENT: unlucky", [5], [6]]
    assert batching.runners_are_idle()


async def test_a_batch_of_bad_requests_is_run_less_than_twice_for_each() -> None:
    batching = Batching(compute=failing_on(13, lambda: InvalidArgument("unlucky")))

    outcomes = [await outcome(task) for task in [batching.ask(13) for _ in range(8)]]

    assert outcomes == ["INVALID_ARGUMENT: unlucky"] * 8
    assert len(batching.inner.runs) == 2 * 8 - 1


async def test_the_bad_one_of_many_is_found_in_a_few_runs() -> None:
    batching = Batching(compute=failing_on(13, lambda: InvalidArgument("unlucky")))

    tasks = [batching.ask(13 if number == 40 else 2) for number in range(64)]
    outcomes = [await outcome(task) for task in tasks]

    assert outcomes.count([3]) == 63
    assert len(batching.inner.runs) == 1 + 2 * 6


async def test_an_error_that_is_not_of_the_tree_reaches_its_caller_alone() -> None:
    batching = Batching(compute=failing_on(13, lambda: ZeroDivisionError("a bug")))
    good, bad = batching.ask(2), batching.ask(13)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        await bad

    assert await outcome(good) == [3]


@pytest.mark.parametrize("error", [Unavailable("full"), DeadlineExceeded("too late")])
async def test_a_batch_that_could_not_run_is_not_run_again(error: SigrunError) -> None:
    batching = Batching(compute=failing_on(13, lambda: error))

    outcomes = [await outcome(task) for task in (batching.ask(2), batching.ask(13))]

    assert outcomes == [f"{error.code.name}: {error}"] * 2
    assert len(batching.inner.runs) == 1


async def test_who_is_cancelled_is_not_run_again() -> None:
    batching = Batching(compute=failing_on(13, lambda: InvalidArgument("unlucky")))
    batching.inner.gate.clear()
    gone, good, bad = batching.ask(2), batching.ask(4), batching.ask(13)
    await let_others_run()

    gone.cancel()
    batching.inner.gate.set()

    assert await outcome(good) == [4]
    assert await outcome(bad) == "INVALID_ARGUMENT: unlucky"
    assert batching.sizes == [3, 1, 1]


async def test_who_is_cancelled_between_two_retries_is_not_run_again() -> None:
    def fail_and_hold(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        batching.inner.gate.clear()
        return failing_on(13, lambda: InvalidArgument("unlucky"))(inputs)

    batching = Batching(compute=fail_and_hold)
    tasks = [batching.ask(value) for value in (13, 2, 4, 6)]
    await let_others_run()
    sizes_before = list(batching.sizes)

    tasks[2].cancel()
    await let_others_run()
    batching.inner._compute = half_plus_two
    batching.inner.gate.set()

    assert await outcome(tasks[3]) == [5]
    assert (sizes_before, batching.sizes) == ([4, 2], [4, 2, 1])


async def test_who_is_cancelled_makes_room_in_a_full_queue() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=1, max_enqueued_batches=1))
    first = await occupy(batching)
    gone = batching.ask(2)
    await let_others_run()

    gone.cancel()
    await let_others_run()
    other = batching.ask(4)
    await let_others_run()
    batching.inner.gate.set()

    assert await answers(first, other) == [[2], [4]]


async def test_a_request_larger_than_a_batch_is_refused() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=2))

    assert await outcome(batching.ask(1, 2, 3)) == (
        "INVALID_ARGUMENT: Task size 3 is larger than maximum input batch size 2"
    )


async def test_a_full_queue_refuses_at_once() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=1, max_enqueued_batches=2))
    first = await occupy(batching)
    waiting = [batching.ask(2), batching.ask(4)]
    await let_others_run()

    assert await outcome(batching.ask(6)) == (
        "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full; "
        "currently 2 batches enqueued and max_enqueued_batches is 2 "
        "(signature serving_default of mnist:3; 2 requests wait)"
    )
    assert batching.statistics().refused_requests == 1
    batching.inner.gate.set()
    assert await answers(first, *waiting) == [[2], [3], [4]]


async def test_what_idle_runners_are_about_to_take_does_not_fill_the_queue() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=1, max_enqueued_batches=1), runners=3)

    tasks = [batching.ask(value) for value in (0, 2, 4, 6)]

    assert await answers(*tasks) == [[2], [3], [4], [5]]


async def test_batches_are_padded_to_a_listed_size_and_answers_are_not() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=8, allowed_batch_rows=(4, 8)))

    alone = await answers(batching.ask(1))
    together = await answers(batching.ask(2), batching.ask(4), batching.ask(6, 8, 10))

    assert alone == [[2.5]]
    assert together == [[3], [4], [5, 6, 7]]
    assert batching.sizes == [4, 8]
    assert batching.inner.runs[1][1]["x"].tolist() == [2, 4, 6, 8, 10, 6, 6, 6]


WIDE = declared({"x": (DType.FLOAT, (None, None))}, {"y": (DType.FLOAT, (None, None))})


async def test_requests_of_other_shapes_do_not_meet() -> None:
    batching = Batching(signatures=[WIDE])

    narrow, wide, more = (
        batching.send(WIDE, {"x": np.full((1, width), width, np.float32)}) for width in (2, 3, 2)
    )

    assert await answers(narrow, wide, more) == [[[3, 3]], [[3.5, 3.5, 3.5]], [[3, 3]]]
    assert [inputs["x"].shape for _, inputs, _, _ in batching.inner.runs] == [(2, 2), (1, 3)]


async def test_with_variable_length_padding_they_do() -> None:
    batching = Batching(BatchingOptions(pad_variable_length_inputs=True), signatures=[WIDE])

    narrow, wide = (
        batching.send(WIDE, {"x": np.full((1, width), width, np.float32)}) for width in (2, 3)
    )

    assert await answers(narrow, wide) == [[[3, 3, 3]], [[3.5, 3.5, 3.5]]]
    assert batching.sizes == [2]


SPLITTING = BatchingOptions(
    max_batch_rows=100, max_execution_batch_rows=4, enable_large_batch_splitting=True
)


async def test_a_large_request_runs_in_pieces_and_is_answered_as_one() -> None:
    batching = Batching(SPLITTING)

    small, large = batching.ask(-2), batching.ask(*range(0, 18, 2))

    assert await answers(small, large) == [[1], [2, 3, 4, 5, 6, 7, 8, 9, 10]]
    assert batching.sizes == [4, 4, 2]
    assert batching.statistics().split_requests == 1


async def test_the_first_piece_that_fails_fails_the_request_and_no_other_one_runs() -> None:
    batching = Batching(SPLITTING, compute=failing_on(13, lambda: Internal("broken")))

    assert await outcome(batching.ask(1, 2, 13, *range(20, 30))) == "INTERNAL: broken"
    await let_others_run()

    assert batching.sizes == [4]
    assert not batching.statistics().waiting_requests
    assert batching.runners_are_idle()


async def test_a_large_request_may_be_cancelled_between_its_pieces() -> None:
    batching = Batching(SPLITTING)
    batching.inner.gate.clear()
    task = batching.ask(*range(10))
    await let_others_run()

    task.cancel()
    await let_others_run()

    assert batching.sizes == [4]
    assert not batching.statistics().waiting_requests
    assert batching.runners_are_idle()


async def test_rows_that_take_long_are_shared_among_idle_runners() -> None:
    batching = Batching(runners=2, row_s=0.001)
    for rows in (1, 2, 4):
        await batching.ask(*range(rows))

    tasks = [batching.ask(value) for value in range(8)]

    assert await answers(*tasks) == [[value / 2 + 2] for value in range(8)]
    assert batching.sizes[3:] == [4, 4]
    assert batching.statistics().shared_batches == 1


async def test_rows_that_take_no_time_stay_together() -> None:
    batching = Batching(runners=2, row_s=0.000001)
    for rows in (1, 2, 4):
        await batching.ask(*range(rows))

    await asyncio.gather(*[batching.ask(value) for value in range(8)])

    assert batching.sizes[3:] == [8]


async def test_one_large_request_is_shared_where_it_may_be_cut() -> None:
    batching = Batching(
        BatchingOptions(max_batch_rows=100, enable_large_batch_splitting=True),
        runners=4,
        row_s=0.001,
    )
    for rows in (1, 2, 4):
        await batching.ask(*range(rows))

    (answer,) = await answers(batching.ask(*range(16)))

    assert answer == [value / 2 + 2 for value in range(16)]
    assert batching.sizes[-4:] == [4, 4, 4, 4]


async def test_instruments_show_what_was_done() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=4, allowed_batch_rows=(4,)))
    first = await occupy(batching)
    others = [batching.ask(2), batching.ask(4)]
    await let_others_run()

    waiting = batching.statistics()
    batching.clock.advance(0.001)
    batching.inner.gate.set()
    await asyncio.gather(first, *others)
    done = batching.statistics()

    assert (waiting.waiting_requests, waiting.waiting_rows) == (2, 2)
    assert (done.waiting_requests, done.waiting_rows) == (0, 0)
    assert done.runs == 2
    assert done.request_rows.count == 3
    assert done.queue_wait_us.sum == pytest.approx(2000)
    assert done.batch_rows.sum == 3
    assert done.processed_rows.sum == 8
    assert done.padding_rows[4].sum == 5


async def test_each_caller_of_a_failed_batch_gets_an_error_of_its_own() -> None:
    batching = Batching(compute=failing_on(13, lambda: Unavailable("full")))
    tasks = [batching.ask(13), batching.ask(13)]

    first, second = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(first, Unavailable)
    assert isinstance(second, Unavailable)
    assert first is not second


async def test_large_batches_are_put_together_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def assemble(requests: Sequence[Sequence[Array]], *, rows: int) -> list[Array]:
        threads.append(threading.current_thread())
        return batch.assemble(requests, rows=rows)

    monkeypatch.setattr(runs, "assemble", assemble)
    batching = Batching(signatures=[WIDE])

    for width in (1, 1 << 20):
        inputs = [np.full((1, width), value, np.float32) for value in (2, 4)]
        tasks = [batching.send(WIDE, {"x": x}) for x in inputs]
        first, second = await asyncio.gather(*tasks)
        assert (first[0][0, -1], second[0][0, 0]) == (3, 4)

    small, large = threads
    assert small is threading.current_thread()
    assert large is not threading.current_thread()


async def test_a_code_and_its_text_are_those_of_the_model() -> None:
    batching = Batching(compute=failing_on(13, lambda: FailedPrecondition("table not ready")))

    with pytest.raises(SigrunError, match=r"^table not ready$") as error:
        await batching.ask(13)

    assert error.value.code is Code.FAILED_PRECONDITION


async def test_short_runs_do_not_wait_for_company() -> None:
    batching = Batching(row_s=1e-6)
    for _ in range(5):
        await batching.ask(1)

    assert await answers(batching.ask(1), batching.ask(2)) == [[2.5], [3]]
    assert batching.sizes == [1] * 7
    assert batching.statistics().queue_wait_us.count == 7


async def test_runs_that_are_worth_it_wait_for_company_again_as_soon_as_there_is_some() -> None:
    batching = Batching(row_s=1e-3)
    for _ in range(4):
        await batching.ask(1)
    for _ in range(20):  # one of them looks whether there is company
        await asyncio.gather(batching.ask(1), batching.ask(2))
    batching.inner.runs.clear()

    assert await answers(batching.ask(1), batching.ask(2)) == [[2.5], [3]]
    assert batching.sizes == [2]


async def test_a_request_that_is_to_wait_for_company_waits_however_short_its_run() -> None:
    batching = Batching(BatchingOptions(batch_timeout_s=0.1), row_s=1e-6)
    for _ in range(5):
        task = batching.ask(1)
        await let_others_run()
        batching.clock.advance(0.2)
        await task

    task = batching.ask(1)
    await let_others_run()

    assert batching.sizes == [1] * 5
    batching.clock.advance(0.2)
    assert await answers(task) == [[2.5]]


async def test_a_request_that_runs_at_once_is_padded_where_sizes_are_prescribed() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=4, allowed_batch_rows=(2, 4)), row_s=1e-6)
    for _ in range(6):
        await batching.ask(1)

    assert batching.sizes == [2] * 6


async def test_a_request_that_runs_at_once_keeps_its_runner_and_is_drained() -> None:
    batching = Batching(row_s=1e-3)
    for _ in range(5):
        await batching.ask(1)
    first = await occupy(batching)
    second = batching.ask(2)
    draining = asyncio.ensure_future(batching.batched.drain())
    await let_others_run()

    assert batching.sizes == [1] * 6
    assert not draining.done()

    batching.inner.gate.set()
    assert await answers(first, second) == [[2], [3]]
    await draining


async def test_most_short_runs_need_no_runner() -> None:
    batching = Batching(row_s=1e-6)
    for _ in range(5):
        await batching.ask(1)
    first = await occupy(batching)

    second = batching.ask(2)
    await let_others_run()

    assert batching.sizes == [1] * 7
    batching.inner.gate.set()
    assert await answers(first, second) == [[2], [3]]
    assert batching.runners_are_idle()
    assert batching.statistics().runs == 7
    assert batching.statistics().request_rows.count == 7
    assert batching.statistics().queue_wait_us.count == 7


async def test_brief_runs_that_are_alone_need_no_runner_until_there_is_company() -> None:
    batching = Batching(row_s=1e-4)
    for _ in range(10):
        await batching.ask(1)
    first = await occupy(batching)
    second = batching.ask(2)
    await let_others_run()
    alone = list(batching.sizes)

    batching.inner.gate.set()
    await asyncio.gather(first, second)
    for _ in range(2):
        await asyncio.gather(*[batching.ask(value) for value in range(32)])

    assert alone == [1] * 12
    assert batching.sizes[-1] == 32


async def test_short_runs_that_become_long_are_noticed() -> None:
    batching = Batching(row_s=1e-6)
    for _ in range(30):
        await batching.ask(1)

    batching.row_s = 1e-3
    for _ in range(800):
        await batching.ask(1)
    tasks = [batching.ask(value) for value in (1, 2, 3, 4)]

    assert await answers(*tasks) == [[2.5], [3], [3.5], [4]]
    assert batching.sizes[-1] > 1


@pytest.mark.parametrize(
    "options",
    [
        BatchingOptions(batch_timeout_s=0.1),
        BatchingOptions(max_batch_rows=4, allowed_batch_rows=(2, 4)),
    ],
)
async def test_short_runs_go_through_the_queue_where_batches_are_prescribed(
    options: BatchingOptions,
) -> None:
    batching = Batching(options, row_s=1e-6)

    for _ in range(8):
        tasks = [batching.ask(1), batching.ask(2)]
        await let_others_run()
        batching.clock.advance(0.2)
        await asyncio.gather(*tasks)

    assert batching.sizes == [2] * 8


async def test_more_rows_than_are_short_go_through_the_scheduler() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=8), row_s=1e-6)
    for _ in range(6):
        await batching.ask(1)

    assert await outcome(batching.ask(*range(9))) == (
        "INVALID_ARGUMENT: Task size 9 is larger than maximum input batch size 8"
    )


async def test_a_request_that_cannot_be_served_before_its_deadline_is_refused() -> None:
    batching = Batching(row_s=1.0)
    for _ in range(2):
        await batching.ask(1, 2)
        await batching.ask(1, 2, 3, 4)
        await batching.ask(1)
    first = await occupy(batching)
    waiting = batching.ask(*range(10))
    await let_others_run()
    now = batching.clock.now

    late = batching.ask(1, deadline=now + 10)
    in_time = batching.ask(1, deadline=now + 12)
    await let_others_run()

    assert await outcome(late) == (
        "UNAVAILABLE: The request cannot be served before its deadline, which is in 10 s: what "
        "waits takes 11 s or more (signature serving_default of mnist:3; 1 requests wait)"
    )
    assert batching.statistics().refused_requests == 1
    batching.inner.gate.set()
    await asyncio.gather(first, waiting, in_time)


async def test_a_request_without_a_deadline_is_refused_when_what_waits_takes_too_long() -> None:
    batching = Batching(row_s=1.0, longest_wait_s=10.0)
    for _ in range(2):
        await batching.ask(1, 2)
        await batching.ask(1, 2, 3, 4)
        await batching.ask(1)
    first = await occupy(batching)
    waiting = batching.ask(*range(9))
    await let_others_run()

    in_time = batching.ask(1)
    late = batching.ask(1)
    await let_others_run()

    assert await outcome(late) == (
        "UNAVAILABLE: What waits takes 11 s or more (signature serving_default of mnist:3; 2 "
        "requests wait), and no call without a deadline waits for longer than 10 s "
        "(--max_queue_seconds)"
    )
    batching.inner.gate.set()
    await asyncio.gather(first, waiting, in_time)


async def test_a_request_without_a_deadline_waits_only_so_long_for_a_runner() -> None:
    batching = Batching(longest_wait_s=10.0)
    first = await occupy(batching)

    late = batching.ask(2)
    await let_others_run()
    batching.clock.advance(10)

    assert await outcome(late) == (
        "UNAVAILABLE: Too much waits (signature serving_default of mnist:3; 1 requests wait), and "
        "no call without a deadline waits for longer than 10 s (--max_queue_seconds)"
    )
    batching.inner.gate.set()
    await first
    assert batching.sizes == [1]
    assert batching.runners_are_idle()


async def test_a_request_for_which_nothing_waits_is_taken_however_long_runs_were() -> None:
    batching = Batching(row_s=1.0)
    for _ in range(6):
        await batching.ask(1)

    assert await outcome(batching.ask(2, deadline=batching.clock.now + 0.5)) == [3]


async def test_short_runs_are_found_out_although_requests_always_meet() -> None:
    batching = Batching(row_s=5e-6)

    for _ in range(60):
        await asyncio.gather(*(batching.ask(1) for _ in range(20)))

    assert max(batching.sizes[:400]) == 20  # which takes 100 us
    assert set(batching.sizes[-40:]) == {1}


async def test_short_runs_are_found_out_although_they_are_long_next_to_a_batch() -> None:
    batching = Batching(row_s=1e-6, cold_s=70e-6)

    for _ in range(200):
        await asyncio.gather(*(batching.ask(1) for _ in range(20)))

    assert max(batching.sizes[:400]) == 20  # which takes 90 us
    assert set(batching.sizes[-40:]) == {1}


async def test_long_runs_are_merged_whatever_lessons_say() -> None:
    batching = Batching(row_s=45e-6)

    for _ in range(60):
        await asyncio.gather(*(batching.ask(1) for _ in range(3)))

    assert batching.sizes.count(3) > 50


async def test_no_request_is_taken_out_of_a_batch_to_learn_where_batches_are_waited_for() -> None:
    batching = Batching(BatchingOptions(max_batch_rows=20, batch_timeout_s=60), row_s=5e-6)

    for _ in range(60):
        await asyncio.wait_for(asyncio.gather(*(batching.ask(1) for _ in range(20))), 10)

    assert set(batching.sizes) == {20}
