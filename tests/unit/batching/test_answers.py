"""Every answer is the same alone, in company, padded and in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument
from sigrun.tensors.signature import Array, DType
from tests.arrays import assert_same
from tests.unit.batching.harness import Batching, declared

BAD = 13

SIGNATURE = declared(
    {"x": (DType.FLOAT, (None, None)), "label": (DType.STRING, (None,)), "by": (DType.FLOAT, ())},
    {
        "sums": (DType.FLOAT, (None,)),
        "labels": (DType.STRING, (None,)),
        "x": (DType.FLOAT, (None, None)),
    },
)


@dataclass(frozen=True)
class Request:
    """Some rows of `width` numbers, sent in turn `turn`; `leaves`: cancelled soon after.

    `by` is a scalar that all rows of a batch are multiplied by.
    """

    rows: int
    width: int
    turn: int
    by: int
    is_bad: bool = False
    leaves: bool = False

    def inputs(self, number: int) -> dict[str, Array]:
        x = np.arange(self.rows * self.width, dtype=np.float32) + 100 * (number + 1)
        if self.is_bad:
            x[-1] = BAD
        label = [f"{number}/{row}".encode() for row in range(self.rows)]
        return {
            "x": x.reshape(self.rows, self.width),
            "label": np.array(label, object),
            "by": np.array(self.by, np.float32),
        }


def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
    x, label = inputs["x"], inputs["label"]
    if (x == BAD).any():
        raise InvalidArgument("unlucky")
    labels = np.empty(len(label), object)
    labels[:] = [b"<" + text + b">" for text in label]
    return {"sums": x.sum(axis=1, dtype=np.float32), "labels": labels, "x": x * inputs["by"]}


requests = st.lists(
    st.builds(
        Request,
        rows=st.integers(0, 9),
        width=st.integers(1, 2),
        turn=st.integers(0, 12),
        by=st.integers(1, 2),
        is_bad=st.sampled_from([False] * 9 + [True]),
        leaves=st.sampled_from([False] * 9 + [True]),
    ).map(lambda request: request if request.rows else replace(request, is_bad=False)),
    min_size=1,
    max_size=24,
)

options = st.one_of(
    st.builds(
        BatchingOptions,
        max_batch_rows=st.integers(9, 20),
        max_enqueued_batches=st.just(100),
    ),
    st.just(
        BatchingOptions(
            max_batch_rows=16, allowed_batch_rows=(2, 5, 11, 16), max_enqueued_batches=100
        )
    ),
    st.builds(
        BatchingOptions,
        max_batch_rows=st.just(9),
        max_execution_batch_rows=st.integers(1, 9),
        enable_large_batch_splitting=st.just(True),
        allowed_batch_rows=st.sampled_from([(), (4, 9)]),
        max_enqueued_batches=st.just(1000),
    ),
)


@given(
    sent=requests,
    options=options,
    runners=st.integers(1, 4),
    row_s=st.sampled_from([0.0, 0.001]),
)
def test_every_answer_is_that_of_the_request_alone(
    sent: list[Request], options: BatchingOptions, runners: int, row_s: float
) -> None:
    batching = Batching(
        options, runners=runners, signatures=[SIGNATURE], compute=compute, row_s=row_s
    )

    asyncio.run(send_and_check(batching, sent))

    assert max(batching.sizes, default=0) <= max(options.execution_batch_rows, 9)
    assert batching.runners_are_idle()
    assert batching.statistics().waiting_requests == 0


async def send_and_check(batching: Batching, sent: list[Request]) -> None:
    aliases = tuple(SIGNATURE.outputs)
    tasks = {}
    for turn in range(16):
        for number, request in enumerate(sent):
            if request.turn == turn:
                tasks[number] = batching.send(SIGNATURE, request.inputs(number))
            elif request.turn == turn - 2 and request.leaves:
                tasks[number].cancel()
        # Runs take turns of their own, so that requests meet in the queue.
        if turn % 3:
            batching.inner.gate.clear()
        else:
            batching.inner.gate.set()
        await asyncio.sleep(0)
    batching.inner.gate.set()
    await asyncio.wait(tasks.values())
    for number, request in enumerate(sent):
        task = tasks[number]
        if request.leaves and task.cancelled():
            continue
        if request.is_bad:
            assert str(task.exception()) == "unlucky"
            continue
        alone = compute(request.inputs(number))
        for alias, output in zip(aliases, task.result(), strict=True):
            assert_same(output, alone[alias])
    await batching.batched.drain()
