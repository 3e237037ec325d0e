"""What a traced request goes through in a model is noted: waiting for a thread, and the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sigrun.telemetry.steps import CURRENT, Attributes, Trace

from .loading import served

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120), pytest.mark.asyncio]


class NoRecorder:
    def begin_batch(self, requests: Sequence[Trace], attributes: Attributes) -> Trace:
        raise NotImplementedError

    def end(self, trace: Trace) -> None:
        raise NotImplementedError


async def test_a_run_in_a_thread_is_noted_with_its_wait(
    saved_model: Callable[[str], Path],
) -> None:
    trace = Trace(NoRecorder(), None)
    async with served(saved_model("slow")) as model:
        CURRENT.set(trace)
        await model.run("sleep", milliseconds=np.array([20]))
        CURRENT.set(None)
        await model.run("sleep", milliseconds=np.array([1]))

    queue, run = trace.steps
    assert (queue.name, run.name) == ("queue", "run")
    assert queue.began <= queue.ended == run.began
    assert run.ended - run.began >= 0.02
    assert run.attributes == {"sigrun.place": "thread"}
