"""A loaded SavedModel as the rest of the server sees it: a `Servable`.

In: a signature and arrays. Out: the arrays of the outputs that were asked for. What is
known to be short is computed at once, on the event loop; the rest, and what is asked for the
first time, in one of the runner threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sigrun.concurrency.threads import Threads
from sigrun.errors import DeadlineExceeded, InvalidArgument
from sigrun.executors.error_texts import error_from
from sigrun.executors.placement import Placement
from sigrun.executors.prepared import Call, Names, PreparedCalls, input_bytes, tensor_names
from sigrun.tensors.signature import Array, Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatistics:
    """How many runs there were, by where they ran."""

    inline: int
    in_threads: int


class SavedModelServable:
    """Runs the signatures of one loaded version; implements `Servable`."""

    def __init__(
        self, signatures: Mapping[str, Signature], calls: PreparedCalls, runners: Threads
    ) -> None:
        self._signatures = signatures
        self._calls = calls
        self._runners = runners
        self._inline_runs = 0
        self._thread_runs = 0

    @property
    def statistics(self) -> RunStatistics:
        """How many runs there were, those that failed included."""
        return RunStatistics(inline=self._inline_runs, in_threads=self._thread_runs)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature of the model by name, those that cannot be called included."""
        return self._signatures

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        """Run `signature`, inline or in a runner thread; see `Servable.run`."""
        feeds, fetches = tensor_names(signature, outputs)
        arrays = [inputs[alias] for alias in signature.inputs]
        prepared = self._calls.find(feeds, fetches)
        placement = prepared.placement if prepared is not None else None
        if prepared is None or placement is None:
            self._thread_runs += 1
            return await self._runners.run(self._run, feeds, fetches, arrays, deadline=deadline)
        size = input_bytes(arrays)
        if placement.is_inline(size):
            return self._run_inline(prepared.call, placement, arrays, size, deadline)
        self._thread_runs += 1
        results, run_s = await self._runners.run(_timed, prepared.call, arrays, deadline=deadline)
        placement.ran_in_thread(size, run_s)
        return results

    def prepared(self, signature: Signature, outputs: Sequence[str]) -> Call:
        """Return what `run` calls: arrays in the order of `signature.inputs`, in this thread.

        Preparing one that is new takes milliseconds. The call raises a `SigrunError`.
        """
        feeds, fetches = tensor_names(signature, outputs)
        return lambda arrays: self._run(feeds, fetches, arrays)

    def _run_inline(
        self,
        call: Call,
        placement: Placement,
        arrays: Sequence[Array],
        size: int,
        deadline: float | None,
    ) -> Sequence[Array]:
        if deadline is not None and deadline <= time.monotonic():
            raise DeadlineExceeded
        self._inline_runs += 1
        # It is not slow for what others do, with a CPU or the interpreter's lock. Looking at the
        # time of this thread alone takes microseconds, so only in doubt.
        clock = time.thread_time if placement.is_suspect(size) else time.perf_counter
        started = clock()
        try:
            return _answer(call, arrays)
        finally:
            placement.ran_inline(size, clock() - started)

    def _run(self, feeds: Names, fetches: Names, arrays: Sequence[Array]) -> Sequence[Array]:
        try:
            prepared = self._calls.get(feeds, fetches)
        except Exception as error:
            raise error_from(error) from error
        return _answer(prepared.call, arrays)


def _timed(call: Call, arrays: Sequence[Array]) -> tuple[Sequence[Array], float]:
    started = time.perf_counter()
    return _answer(call, arrays), time.perf_counter() - started


def _answer(call: Call, arrays: Sequence[Array]) -> Sequence[Array]:
    try:
        return call(arrays)
    except TypeError as error:  # elements that TensorFlow has no type for
        raise InvalidArgument(str(error)) from error
    except Exception as error:
        raise error_from(error) from error
