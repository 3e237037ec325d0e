"""A loaded SavedModel as the rest of the server sees it: a `Servable`.

In: a signature and arrays. Out: the arrays of the outputs that were asked for. What is
known to be short is computed at once, on the event loop; the rest, and what is asked for the
first time, in one of the runner threads.

What becomes of a run whose caller's deadline passes, or who leaves: before it has begun it is
never made. Once begun it goes on in its thread, as TensorFlow has no way to end a single run,
and its result is dropped. After some overtime it is written off: another thread takes the
place of its own, and where it may loop or wait for ever the model gets a new session and the
old one is closed, which ends every run in it; those that somebody still waits for are made
again in the new one. A long chain of large operations cannot be ended, only left behind. With
several of those the model refuses what needs a thread until they have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sigrun.concurrency.aside import run_aside, start_aside
from sigrun.concurrency.threads import Threads
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import Cancelled, DeadlineExceeded, InvalidArgument, SigrunError, Unavailable
from sigrun.executors.error_texts import error_from
from sigrun.executors.placement import SLOW_S, State
from sigrun.executors.prepared import (
    Call,
    Names,
    PreparedCall,
    PreparedCalls,
    input_bytes,
    tensor_names,
)
from sigrun.executors.run_statistics import RunStatistics
from sigrun.executors.saved_model.model import LoadedModel
from sigrun.servables.servable import ServableId
from sigrun.telemetry.metrics import Buckets, Counter, Gauge, Reading
from sigrun.telemetry.steps import CURRENT
from sigrun.tensors.signature import Array, DType, Signature

logger = logging.getLogger(__name__)

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_INLINE: Final = State.INLINE
_SUSPECT: Final = State.SUSPECT

_ON_LOOP, _IN_THREAD = {"sigrun.place": "event loop"}, {"sigrun.place": "thread"}
_FOR_THREAD = {"sigrun.queue": "thread"}

_CLOSE_S = 2.0  # for a session to close, before the rest goes on without it


@dataclass(frozen=True, slots=True)
class _Route:
    """What is the same for every request of one signature that asks for all its outputs."""

    signature: Signature
    inputs: tuple[str, ...]  # aliases, in the order in which they are fed
    outputs: tuple[str, ...]
    has_strings: bool
    prepared: PreparedCall
    durations: Buckets


class _Timed(NamedTuple):
    """The outputs of a run in a thread, and when it was made, in `time.perf_counter` seconds."""

    results: Sequence[Array]
    began: float
    ended: float


class SavedModelServable:
    """Runs the signatures of one loaded version; implements `Servable`."""

    def __init__(
        self, id: ServableId, model: LoadedModel, runners: Threads, options: ExecutionOptions
    ) -> None:
        self._id = id
        self._model = model
        self.runs = RunStatistics(id, model.signatures)
        self._routes = _routes(model, self.runs)
        # Whether any run may be made at once. An attribute, as every request asks.
        self.may_run_inline = any(route.prepared.placement for route in self._routes.values())
        self._max_written_off = options.max_written_off_runs
        self._max_renewal_s = options.max_load_s
        self._runners = runners.owner(
            str(id), max_waiting=options.max_queued_runs_per_model, on_write_off=self._on_write_off
        )
        self._renewal: asyncio.Task[None] | None = None
        self._is_renewal_due = False
        self._is_closed = False
        self.memory_bytes: int | None = None  # what the process grew by for it
        self.inline_runs = 0
        self.thread_runs = 0

    @property
    def id(self) -> ServableId:
        """The version that this is."""
        return self._id

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature of the model by name, those that cannot be called included."""
        return self._model.signatures

    @property
    def written_off_runs(self) -> int:
        """How many runs go on long after they were given up."""
        return self._runners.written_off

    @property
    def refusal(self) -> str | None:
        """Why the model refuses what needs a thread, or None if it does not."""
        if self._runners.written_off < self._max_written_off:
            return None
        return (
            f"{self._runners.written_off} runs of {self._id} do not end although their callers "
            f"have given up; it takes no more until some have ended"
        )

    def readings(self) -> Iterator[Reading]:
        """Yield what was counted, as metrics."""
        labels = {"model": self._id.name, "version": str(self._id.version)}
        for place, runs in (("event loop", self.inline_runs), ("thread", self.thread_runs)):
            yield Counter(
                name="sigrun_model_runs",
                help="Runs of a model, by where they were made",
                value=runs,
                labels={**labels, "place": place},
            )
        yield Gauge(
            name="sigrun_model_written_off_runs",
            help="Runs of a model that go on long after they were given up",
            value=self.written_off_runs,
            labels=labels,
        )
        yield Gauge(
            name="sigrun_model_refuses",
            help="Whether a model refuses what needs a thread, for runs that do not end",
            value=self.refusal is not None,
            labels=labels,
        )
        yield Gauge(
            name="sigrun_model_waiting_runs",
            help="Runs of a model that wait for a thread",
            value=self._runners.waiting,
            labels=labels,
        )
        if self.memory_bytes is not None:
            yield Gauge(
                name="sigrun_model_memory_bytes",
                help="What the process grew by while a version was loaded; loads at the same "
                "time count for each other",
                value=self.memory_bytes,
                labels=labels,
            )
        yield from self.runs.readings()

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array] | None:
        """Return what `run` would, at once; None where the run may take longer: `run` it then.

        Raises what `run` raises.
        """
        route = self._routes.get(signature.name)
        if route is None or route.signature is not signature or route.outputs != tuple(outputs):
            return None
        call, placement = route.prepared.call, route.prepared.placement
        if placement is None:
            return None
        arrays, size = [], 0
        for alias in route.inputs:
            array = inputs[alias]
            arrays.append(array)
            size += array.nbytes
        if route.has_strings:
            size = input_bytes(arrays)
        known = placement.of(size)
        is_trusted = known.state is _INLINE
        if not is_trusted and known.state is not _SUSPECT:
            return None
        if deadline is not None and deadline <= time.monotonic():
            raise DeadlineExceeded
        self.inline_runs += 1
        # It is not slow for what others do, with a CPU or the GIL. Looking at the time of this
        # thread alone takes microseconds, so only in doubt.
        clock = time.perf_counter if is_trusted else time.thread_time
        started = clock()
        try:
            results = call(arrays)
        except Exception as error:
            raise _as_told(error) from error
        finally:
            run_s = clock() - started
            if run_s > SLOW_S or not is_trusted or not known.has_run:
                known.ran_inline(run_s)  # else it has nothing to learn
        route.durations.add(run_s)
        if (trace := CURRENT.get()) is not None:
            ended = time.perf_counter()
            trace.step("run", ended - run_s, ended, _ON_LOOP)
        return results

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        """Run `signature`, inline or in a runner thread; see `Servable.run`."""
        answer = self.run_inline(signature, inputs, outputs, deadline=deadline)
        if answer is not None:
            return answer
        feeds, fetches = tensor_names(signature, outputs)
        arrays = [inputs[alias] for alias in signature.inputs]
        while True:
            if (refusal := self.refusal) is not None:
                raise Unavailable(refusal)
            model = self._model
            try:
                asked = time.perf_counter()
                timed = await self._run_in_thread(model.calls, feeds, fetches, arrays, deadline)
            except Cancelled:
                if model is self._model:
                    raise
                # Its session was closed to end another run. This one did not ask for that.
            else:
                run_s = timed.ended - timed.began
                self.runs.of(signature).add(run_s)
                self.runs.waits.add(time.perf_counter() - asked - run_s)
                if (trace := CURRENT.get()) is not None:
                    trace.step("queue", asked, timed.began, _FOR_THREAD)
                    trace.step("run", timed.began, timed.ended, _IN_THREAD)
                return timed.results

    async def close(self) -> None:
        """Give back everything that the model takes, within seconds.

        A run whose caller has given up may go on. It is cancelled where TensorFlow can, and
        gives the rest back when it ends.
        """
        self._is_closed = True
        if self._renewal is not None:
            self._renewal.cancel()
        model = self._model
        self._routes = {}
        model.calls.clear()
        try:
            await run_aside(model.close, name=f"closing {self._id}", wait_s=_CLOSE_S)
        except TimeoutError:
            logger.warning(
                "%s has runs that cannot be ended, and gives memory back later", self._id
            )

    async def _run_in_thread(
        self,
        calls: PreparedCalls,
        feeds: Names,
        fetches: Names,
        arrays: Sequence[Array],
        deadline: float | None,
    ) -> _Timed:
        self.thread_runs += 1
        prepared = calls.find(feeds, fetches)
        if prepared is None:
            return await self._runners.run(
                _prepare_and_run, calls, feeds, fetches, arrays, deadline=deadline
            )
        timed = await self._runners.run(_timed, prepared.call, arrays, deadline=deadline)
        if prepared.placement is not None:
            prepared.placement.ran_in_thread(input_bytes(arrays), timed.ended - timed.began)
        return timed

    def _on_write_off(self) -> None:
        """End what does not end: go on in a new session, and close the old one."""
        self._is_renewal_due = True
        if self._renewal is None and not self._is_closed:
            self._renewal = asyncio.create_task(self._renew(), name=f"renewing {self._id}")

    async def _renew(self) -> None:
        try:
            while self._is_renewal_due and (renew := self._model.renew) is not None:
                model = await run_aside(
                    renew, name=f"renewing {self._id}", wait_s=self._max_renewal_s
                )
                logger.warning("%s goes on in a new session: a run did not end", self._id)
                old, self._model, self._routes = self._model, model, _routes(model, self.runs)
                self._is_renewal_due = False  # all that was written off is in the old session
                # While that does not close, another would not either, and take its memory.
                await asyncio.wrap_future(start_aside(old.close, name=f"closing {self._id}"))
        except TimeoutError:
            logger.warning("%s keeps its session: making a new one takes too long", self._id)
        except Exception as error:  # whatever it is, the session goes on
            logger.warning("%s keeps its session: %s", self._id, error_from(error))
        finally:
            self._renewal = None


def _routes(model: LoadedModel, runs: RunStatistics) -> dict[str, _Route]:
    return {
        signature.name: _Route(
            signature=signature,
            inputs=tuple(signature.inputs),
            outputs=tuple(signature.outputs),
            has_strings=any(spec.dtype is DType.STRING for spec in signature.inputs.values()),
            prepared=prepared,
            durations=runs.of(signature),
        )
        for signature, prepared in model.prepared()
    }


def _prepare_and_run(
    calls: PreparedCalls, feeds: Names, fetches: Names, arrays: Sequence[Array]
) -> _Timed:
    try:
        prepared = calls.get(feeds, fetches)
    except Exception as error:
        raise error_from(error) from error
    return _timed(prepared.call, arrays)


def _timed(call: Call, arrays: Sequence[Array]) -> _Timed:
    began = time.perf_counter()
    return _Timed(_answer(call, arrays), began, time.perf_counter())


def _answer(call: Call, arrays: Sequence[Array]) -> Sequence[Array]:
    try:
        return call(arrays)
    except Exception as error:
        raise _as_told(error) from error


def _as_told(error: Exception) -> SigrunError:
    """Return what a caller is told about `error`, which a run raised."""
    if isinstance(error, TypeError):  # elements that TensorFlow has no type for
        return InvalidArgument(str(error))
    return error_from(error)
