"""Requests made up from what a signature says, and whether two models answer them alike.

In: a signature, and calls of it. Out: arrays to feed, what came of them, and in what two
answers differ. Used at load only, and only with models whose runs change nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sigrun.executors.error_texts import error_from
from sigrun.executors.prepared import Call, input_bytes
from sigrun.executors.saved_model.model import LoadedModel
from sigrun.tensors.made_up import made_up_inputs
from sigrun.tensors.signature import Array, Signature

# Parts of the largest value: folded operations round differently.
FULL_PRECISION = 1e-4  # of float32
REDUCED_PRECISION = 3e-2  # of bfloat16 and TF32, which have 8 and 11 bits, over many layers
_ROWS = 2  # of a batch
_RUNS = 10
_SLOWER = 1.1  # times as long: less is noise
_COMPARED_S = 1.0  # of runs that compare two calls
_NOT_SHORT_S = 5e-3  # whatever the best of several would be


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a run: arrays, or the error's code."""

    outputs: Sequence[Array] = ()
    error: str = ""


Compare = Callable[[Answer, Answer, float], str | None]
"""Returns in what the second answer differs from the first, by more than a tolerance, or None."""


def made_up_requests(signature: Signature) -> list[list[Array]]:
    """Return arrays for the inputs: all ones, and all zeros; strings are empty.

    None at all where the model does not say of what shape they have to be, or a large one.
    """
    made_up = (made_up_inputs(signature, rows=_ROWS, value=value) for value in (1, 0))
    return [list(inputs.values()) for inputs in made_up if inputs is not None]


def answer(call: Call, inputs: Sequence[Array]) -> Answer:
    """Return what comes of a run."""
    try:
        return Answer(outputs=call(inputs))
    except Exception as error:  # whatever it is, another model has to fail alike
        return Answer(error=error_from(error).code.name)


def measure(model: LoadedModel) -> None:
    """Let the calls of `model` that may run on the event loop know how long they take."""
    for signature, prepared in model.prepared():
        requests = made_up_requests(signature)
        if prepared.placement is None or not requests:
            continue
        run_s = _best_run_s(prepared.call, requests[0])
        if run_s is not None:
            prepared.placement.measured(input_bytes(requests[0]), run_s)


def _best_run_s(call: Call, inputs: Sequence[Array]) -> float | None:
    """Return how long a run takes at best, or None if it fails."""
    best_s = math.inf
    for _ in range(_RUNS):
        started = time.perf_counter()
        if answer(call, inputs).error:
            return None
        best_s = min(best_s, time.perf_counter() - started)
        if best_s > _NOT_SHORT_S:
            break
    return best_s


def is_slower(other: LoadedModel, model: LoadedModel) -> bool:
    """Return whether the runs of `other`, which has the same calls, take longer than `model`'s.

    All signatures that answer made-up requests count, each by its best run.
    """
    calls = {signature.name: prepared.call for signature, prepared in other.prepared()}
    other_s = model_s = 0.0
    for signature, prepared in model.prepared():
        requests = made_up_requests(signature)
        if requests and not answer(prepared.call, requests[0]).error:
            one_s, two_s = _best_runs_s((calls[signature.name], prepared.call), requests[0])
            other_s, model_s = other_s + one_s, model_s + two_s
    return other_s > _SLOWER * model_s


def _best_runs_s(calls: tuple[Call, Call], inputs: Sequence[Array]) -> list[float]:
    """Return how long runs of the two take at best; they take turns, as others may be at work."""
    best_s = [math.inf, math.inf]
    ends_at = time.perf_counter() + _COMPARED_S
    for _ in range(_RUNS):
        for index, call in enumerate(calls):
            started = time.perf_counter()
            call(inputs)
            best_s[index] = min(best_s[index], time.perf_counter() - started)
        if time.perf_counter() > ends_at:
            break
    return best_s


def difference(want: Answer, got: Answer, tolerance: float) -> str | None:
    """Return in what `got` differs from `want`, or None.

    `tolerance` is a part of the largest value of an output, for outputs that are rounded.
    """
    if want.error or got.error:
        same = want.error == got.error
        return None if same else f"{got.error or 'an answer'} instead of {want.error or 'one'}"
    for index, (one, other) in enumerate(zip(want.outputs, got.outputs, strict=True)):
        if one.dtype != other.dtype or one.shape != other.shape:
            return f"output {index} is {other.dtype}{[*other.shape]}, not {one.dtype}{[*one.shape]}"
        if not _is_close(one, other, tolerance):
            return f"output {index} has other values"
    return None


def _is_close(want: Array, got: Array, tolerance: float) -> bool:
    if want.dtype.kind in "biuSO":  # these are not rounded
        return bool(np.array_equal(want, got))
    kind = np.complex128 if want.dtype.kind == "c" else np.float64
    one, other = want.astype(kind), got.astype(kind)
    finite = np.abs(one[np.isfinite(one)])
    largest = float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(other, one, rtol=tolerance, atol=tolerance * largest, equal_nan=True))
