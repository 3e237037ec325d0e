"""What batching merges of a real model: every caller gets its own answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sigrun.batching.runners import BatchRunners
from sigrun.batching.servable import BatchedServable
from sigrun.batching.statistics import BatchingInstruments
from sigrun.config.batching import BatchingOptions
from sigrun.servables.servable import Servable, ServableId
from sigrun.tensors.signature import Array

from .loading import served

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120), pytest.mark.asyncio]

CALLERS = 40
ROW = tf.TensorSpec([None, 2], tf.float32, name="x")
CLASSES = tf.constant([b"a", b"b", b"c", b"d"])


def save(path: Path) -> None:
    """Write a module whose signatures declare first dimensions that are fixed, open or missing."""
    module = tf.Module()
    functions = {
        "fixed": (lambda x: {"y": x - tf.reduce_mean(x)}, [tf.TensorSpec([1, 2], name="x")]),
        "table": (
            lambda x, t: {"y": x + tf.reduce_sum(t)},
            [ROW, tf.TensorSpec([3], tf.float32, name="t")],
        ),
        "scaled": (lambda x, s: {"y": x * s}, [ROW, tf.TensorSpec([], tf.float32, name="s")]),
        "labelled": (lambda x: {"y": x * 2.0, "classes": CLASSES}, [ROW]),
        "doubled": (lambda x: {"y": x * 2.0}, [ROW]),
    }
    module.functions = {
        name: tf.function(function, input_signature=specs)
        for name, (function, specs) in functions.items()
    }
    signatures = {name: f.get_concrete_function() for name, f in module.functions.items()}
    tf.saved_model.save(module, str(path), signatures=signatures)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batching") / "1"
    save(path)
    return path


def batched(servable: Servable) -> tuple[BatchedServable, BatchingInstruments]:
    instruments = BatchingInstruments()
    return (
        BatchedServable(
            ServableId("model", 1),
            servable,
            # With a timeout whatever may be merged is, however short its runs are.
            options=BatchingOptions(batch_timeout_s=0.01),
            runners=BatchRunners(2, clock=time.monotonic),
            instruments=instruments,
        ),
        instruments,
    )


def inputs_of(signature: str, number: int) -> dict[str, Any]:
    x = np.array([[number, number + 1]], np.float32)
    match signature:
        case "table":
            return {"x": x, "t": np.full(3, number, np.float32)}
        case "scaled":
            return {"x": x, "s": np.array(number % 4, np.float32)}
        case _:
            return {"x": x}


def expected(signature: str, number: int) -> list[Any]:
    first, second = float(number), float(number + 1)
    match signature:
        case "fixed":
            return [[[-0.5, 0.5]]]
        case "table":
            return [[[first + 3 * number, second + 3 * number]]]
        case "scaled":
            return [[[first * (number % 4), second * (number % 4)]]]
        case "labelled":
            return [[b"a", b"b", b"c", b"d"], [[2 * first, 2 * second]]]
        case _:
            return [[[2 * first, 2 * second]]]


async def answers(servable: Servable, name: str, inputs: Sequence[dict[str, Array]]) -> list[Any]:
    signature = servable.signatures[name]
    outputs = tuple(sorted(signature.outputs))
    runs = [servable.run(signature, one, outputs, deadline=None) for one in inputs]
    return [[array.tolist() for array in answer] for answer in await asyncio.gather(*runs)]


@pytest.mark.parametrize(
    ("signature", "most_runs"),
    [
        ("fixed", CALLERS),
        ("table", CALLERS),
        ("scaled", CALLERS // 2),
        ("labelled", CALLERS),
        ("doubled", CALLERS // 4),
    ],
)
async def test_every_caller_gets_its_own_answer(path: Path, signature: str, most_runs: int) -> None:
    async with served(path) as model:
        servable, instruments = batched(model.servable)

        got = await answers(
            servable, signature, [inputs_of(signature, number) for number in range(CALLERS)]
        )

    assert got == [expected(signature, number) for number in range(CALLERS)]
    assert instruments.statistics()["model", signature].runs <= most_runs


async def test_a_scalar_sent_as_a_vector_is_answered_as_if_alone(path: Path) -> None:
    requests = [
        {"x": np.ones((1, 2), np.float32), "s": np.array([number], np.float32)}
        for number in range(CALLERS)
    ]

    async with served(path) as model:
        servable, _ = batched(model.servable)
        together = await answers(servable, "scaled", requests)
        alone = [(await answers(model.servable, "scaled", [one]))[0] for one in requests]

    assert together == alone
