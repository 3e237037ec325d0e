"""A batched fake servable, with the time in the hands of the test."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sigrun.batching.runners import BatchRunners, ModelShare
from sigrun.batching.servable import BatchedServable
from sigrun.batching.statistics import BatchingInstruments, BatchingStatistics
from sigrun.config.batching import BatchingOptions
from sigrun.servables.servable import ServableId
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec
from tests.fakes.lifecycle import advance_clock
from tests.fakes.servables import HALF_PLUS_TWO, Compute, FakeServable, half_plus_two

Declared = tuple[DType, tuple[int | None, ...] | None]
"""The element type and shape that a signature declares for a tensor."""

MNIST = ServableId("mnist", 3)


class Clock:
    """Says the time that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass, here and for the running event loop."""
        self.now += seconds
        advance_clock(seconds)


class IdleScheduler:
    """Takes runners one by one, and has nothing that waits for them; its runs are short."""

    mean_run_s = 0.0
    has_waiting = False

    def __init__(self, share: ModelShare) -> None:
        self.share = share

    def start_batches(self, now: float, runners: int) -> int:
        """Start nothing."""
        return 0


class Batching:
    """`batched` runs requests on `inner`, which takes `row_s` seconds for each row of a run.

    A run next to one of several rows takes `cold_s` more: a CPU's caches are full of that one.

    With `beside` it is another model, which shares time and runners with that one.
    """

    def __init__(
        self,
        options: BatchingOptions | None = None,
        *,
        runners: int = 1,
        signatures: Sequence[Signature] = (HALF_PLUS_TWO,),
        compute: Compute = half_plus_two,
        row_s: float = 0.0,
        cold_s: float = 0.0,
        longest_wait_s: float = math.inf,
        beside: Batching | None = None,
    ) -> None:
        self.clock: Clock = beside.clock if beside else Clock()
        self.row_s = row_s
        last_rows = 1

        def compute_slowly(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            nonlocal last_rows
            rows = len(next(iter(inputs.values())))
            self.clock.now += self.row_s * rows + (cold_s if max(rows, last_rows) > 1 else 0.0)
            last_rows = rows
            return compute(inputs)

        self.inner = FakeServable(signatures, compute_slowly if row_s else compute)
        self.instruments = BatchingInstruments()
        self.runners: BatchRunners = (
            beside.runners
            if beside
            else BatchRunners(runners, clock=self.clock, longest_wait_s=longest_wait_s)
        )
        self.batched = BatchedServable(
            ServableId("neighbour", 1) if beside else MNIST,
            self.inner,
            options=options or BatchingOptions(),
            runners=self.runners,
            instruments=self.instruments,
        )

    def ask(self, *x: float, deadline: float | None = None) -> asyncio.Task[Sequence[Array]]:
        """Send a request for half plus two."""
        return self.send(HALF_PLUS_TWO, {"x": floats(*x)}, deadline=deadline)

    def send(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        *,
        deadline: float | None = None,
    ) -> asyncio.Task[Sequence[Array]]:
        """Send a request, whose answer the task has."""
        names = tuple(signature.outputs) if outputs is None else outputs
        return asyncio.ensure_future(self.batched.run(signature, inputs, names, deadline=deadline))

    def runners_are_idle(self) -> bool:
        """Tell whether every runner has been given back, by taking and returning all of them."""
        share = self.runners.share("another model")
        scheduler = IdleScheduler(share)
        taken = 0
        while self.runners.take(scheduler, self.clock.now):
            taken += 1
        for _ in range(taken):
            self.runners.release(share)
        return taken == self.runners.count

    @property
    def sizes(self) -> list[int]:
        """How many rows each run had."""
        return [len(next(iter(inputs.values()))) for _, inputs, _, _ in self.inner.runs]

    def statistics(self, signature: str = "serving_default") -> BatchingStatistics:
        """Return what was counted for a signature."""
        return self.instruments.statistics()[MNIST.name, signature]


def declared(
    inputs: Mapping[str, Declared], outputs: Mapping[str, Declared], *, name: str = ""
) -> Signature:
    """Return a signature whose tensors are named after their aliases, and have these shapes."""

    def specs(tensors: Mapping[str, Declared]) -> dict[str, TensorSpec]:
        return {
            alias: TensorSpec(name=f"{alias}:0", dtype=dtype, shape=shape)
            for alias, (dtype, shape) in tensors.items()
        }

    return Signature(
        name=name or "serving_default",
        method_name="",
        inputs=specs(inputs),
        outputs=specs(outputs),
    )


def floats(*values: float) -> Array:
    """Return a vector."""
    return np.array(values, np.float32)


def failing_on(bad: float, error: Callable[[], Exception]) -> Compute:
    """Return half plus two, which fails if `bad` is among its inputs."""

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if bad in inputs["x"]:
            raise error()
        return half_plus_two(inputs)

    return compute


def renamed(signature: Signature, name: str) -> Signature:
    """Return the same signature under another name."""
    return replace(signature, name=name)
