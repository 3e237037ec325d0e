"""Warm a version up between its load and its first request: a decorator of its loader.

In: a loader, and the calls that lie beside its model. Out: a loader that has made these calls
before it hands the servable over, through the functions that requests go through, batching
included. What a model does at its first runs only (compiling, filling caches) no request then
waits for.

Requests that lie beside a model must succeed: one that fails fails the load. Those that are made
up from the signatures may fail, as a model need not take what its signature permits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from sigrun.concurrency.aside import run_aside
from sigrun.concurrency.offload import Offload
from sigrun.config.warm_up import WarmUpOptions
from sigrun.errors import Code, DeadlineExceeded, SigrunError, code_of, error_for
from sigrun.inference.calls import ExamplesCall, ModelSpec, MultiInferenceCall, PredictCall
from sigrun.inference.context import INTERNAL, CallContext
from sigrun.inference.service import InferenceService
from sigrun.servables.handle import LoadedVersion, ServableHandle
from sigrun.servables.servable import Loader, LoaderAround, Servable, ServableId
from sigrun.telemetry.metrics import LATENCY_BOUNDS_US, Buckets, Distribution, Reading, Untyped
from sigrun.tensors.made_up import has_open_batch, made_up_inputs
from sigrun.tensors.signature import Array, Signature

logger = logging.getLogger(__name__)

_MAX_SERIES = 1000  # of models and codes; the oldest are forgotten
_MADE_UP_ELEMENTS = 2**24  # of one request: the largest of the allowed sizes may be left out


@dataclass(frozen=True, slots=True)
class ClassifyCall:
    """Classify these examples."""

    call: ExamplesCall


@dataclass(frozen=True, slots=True)
class RegressCall:
    """Regress these examples."""

    call: ExamplesCall


WarmUpCall = PredictCall | ClassifyCall | RegressCall | MultiInferenceCall

ReadCalls = Callable[[CallContext], Iterator[WarmUpCall]]
"""Returns the calls beside a model, each with the context given; read in a thread as it goes on."""

ReadBatchRows = Callable[[], Sequence[int]]
"""Returns the batch sizes for which requests are made up; empty: batches have any size."""


class WarmUps:
    """What warm-ups of all models have taken; the names are TensorFlow Serving's."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, Code], _Series] = {}

    def ended(self, model_path: str, code: Code, records: int, run_s: float) -> None:
        """Count one warm-up of the version in `model_path`."""
        series = self._series.setdefault((model_path, code), _Series())
        series.records += records
        series.latencies_us.add(run_s * 1e6)
        if len(self._series) > _MAX_SERIES:
            del self._series[next(iter(self._series))]

    def readings(self) -> Iterable[Reading]:
        """Yield what was counted, as metrics."""
        for (model_path, code), series in self._series.items():
            labels = {"model_path": model_path, "status": code.name}
            yield Distribution(
                name=":tensorflow:serving:model_warmup_latency",
                help="Time of a warm-up in microseconds",
                value=series.latencies_us.histogram,
                labels=labels,
            )
            yield Untyped(
                name=":tensorflow:serving:model_warmup_records_read",
                help="Warm-up requests that were run",
                value=series.records,
                labels=labels,
            )


class _Series:
    """The warm-ups of one model that ended alike."""

    __slots__ = ("latencies_us", "records")

    def __init__(self) -> None:
        self.records = 0
        self.latencies_us = Buckets(LATENCY_BOUNDS_US)


class WarmingLoader(LoaderAround):
    """Loads what `loader` does and warms it up; implements `Loader`."""

    def __init__(
        self,
        loader: Loader,
        *,
        model_path: str,
        read_calls: ReadCalls,
        read_batch_rows: ReadBatchRows,
        options: WarmUpOptions,
        offload: Offload,
        warm_ups: WarmUps,
        check_method_names: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(loader)
        self._model_path = model_path
        self._read_calls = read_calls
        self._read_batch_rows = read_batch_rows
        self._options = options
        self._offload = offload
        self._warm_ups = warm_ups
        self._check_method_names = check_method_names
        self._clock = clock

    async def load(self) -> Servable:
        """Load the version and warm it up.

        Raises a `SigrunError`, also for a warm-up request that cannot be read or fails, or
        where they take too long; nothing stays loaded then.
        """
        servable = await self._loader.load()
        try:
            await self._warm_up(servable)
        except BaseException:
            await self._loader.unload()
            raise
        return servable

    async def _warm_up(self, servable: Servable) -> None:
        deadline = self._clock() + self._options.limit_s
        batch_rows: Sequence[int] = ()
        if self._options.at_all_batch_sizes or self._options.synthesizes:
            batch_rows = await asyncio.to_thread(self._read_batch_rows)
        if self._options.replays:
            sizes = batch_rows if self._options.at_all_batch_sizes else ()
            await self._replay(_AtAllSizes(servable, sizes) if sizes else servable, deadline)
        if self._options.synthesizes:
            await _MadeUp(self.id, servable, deadline, self._clock).run(batch_rows)

    async def _replay(self, servable: Servable, deadline: float) -> None:
        """Make the calls that lie beside the model."""
        service = InferenceService(
            _OnlyServable(self.id, servable),
            self._offload,
            check_method_names=self._check_method_names,
        )
        calls = self._read_calls(INTERNAL._replace(deadline=deadline))
        began = self._clock()
        count = 0
        code = Code.CANCELLED
        try:
            while (call := await self._next(calls, deadline)) is not None:
                count += 1
                for _ in range(self._options.iterations):
                    await _make(call, service)
            code = Code.OK
        except SigrunError as error:
            code = error.code
            raise self._failure(error, count) from error
        finally:
            if count or code is not Code.OK:
                self._warm_ups.ended(self._model_path, code, count, self._clock() - began)
        if count:
            logger.info(
                "%s is warm after %d requests in %.1f s", self.id, count, self._clock() - began
            )

    async def _next(self, calls: Iterator[WarmUpCall], deadline: float) -> WarmUpCall | None:
        """Return the next call, None after the last. What it is read from may not answer."""
        try:
            return await run_aside(
                lambda: next(calls, None),
                name=f"reading warm-up requests of {self.id}",
                wait_s=max(deadline - self._clock(), 0),
            )
        except TimeoutError:
            raise DeadlineExceeded("they take too long") from None

    def _failure(self, error: SigrunError, count: int) -> SigrunError:
        is_limit = isinstance(error, DeadlineExceeded)
        limit = f" (warm-up may take {self._options.limit_s:g} s)" if is_limit else ""
        return error_for(
            error.code, f"Warm-up of {self.id} failed at request {max(count, 1)}: {error}{limit}"
        )


class _OnlyServable:
    """Leads every call to one servable that nobody else can reach yet.

    The model that a call names does not count: a file of requests may come from another server.
    """

    def __init__(self, id: ServableId, servable: Servable) -> None:
        self._id = id
        self._servable = servable

    def pin(self, spec: ModelSpec) -> ServableHandle:
        """Return a handle on the servable, under the name by which it is called."""
        return ServableHandle(self.find(spec))

    def find(self, spec: ModelSpec) -> LoadedVersion:
        """Return the servable, under the name by which it is called."""
        id = ServableId(spec.name or self._id.name, self._id.version)
        return LoadedVersion(id, self._servable)


class _AtAllSizes:
    """Runs each request as it is, and then with its first row as often as each size says."""

    def __init__(self, servable: Servable, batch_rows: Sequence[int]) -> None:
        self._servable = servable
        self._batch_rows = batch_rows

    @property
    def may_run_inline(self) -> bool:
        return False

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self._servable.signatures

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> None:
        return None

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        answer = await self._servable.run(signature, inputs, outputs, deadline=deadline)
        if has_open_batch(signature) and all(len(array) for array in inputs.values()):
            for rows in self._batch_rows:
                batch = {alias: np.repeat(array[:1], rows, 0) for alias, array in inputs.items()}
                await self._servable.run(signature, batch, outputs, deadline=deadline)
        return answer


async def _make(call: WarmUpCall, service: InferenceService) -> None:
    match call:
        case PredictCall():
            await service.predict(call)
        case ClassifyCall():
            await service.classify(call.call)
        case RegressCall():
            await service.regress(call.call)
        case MultiInferenceCall():
            await service.multi_inference(call)
        case _:
            assert_never(call)


@dataclass(frozen=True, slots=True)
class _MadeUp:
    """Requests made up from the signatures of a servable."""

    id: ServableId
    servable: Servable
    deadline: float
    clock: Callable[[], float]

    async def run(self, batch_rows: Sequence[int]) -> None:
        """Run each signature that changes nothing with batches of these sizes; [] is one row."""
        began = self.clock()
        made = 0
        for signature in self.servable.signatures.values():
            if signature.changes_state:
                logger.info(
                    "no request is made up for %s of %s: it may change the model's state",
                    signature.name,
                    self.id,
                )
                continue
            for rows in _rows(signature, batch_rows):
                if self.clock() >= self.deadline:
                    logger.warning(
                        "%s is served before all requests that were made up have run: "
                        "the time for warm-up is over",
                        self.id,
                    )
                    return
                made += await self._run(signature, rows)
        logger.info(
            "%s is warm after %d requests that were made up, in %.1f s",
            self.id,
            made,
            self.clock() - began,
        )

    async def _run(self, signature: Signature, rows: int) -> bool:
        """Return whether there was something to run."""
        inputs = made_up_inputs(signature, rows=rows, value=0)
        outputs = [alias for alias, spec in signature.outputs.items() if spec.name and spec.dtype]
        if inputs is None or not outputs or len(outputs) < len(signature.outputs):
            logger.info(
                "no request of %d rows is made up for %s of %s: its signature does not say "
                "enough, or it would be too large",
                rows,
                signature.name,
                self.id,
            )
            return False
        if sum(array.size for array in inputs.values()) > _MADE_UP_ELEMENTS:
            logger.info(
                "no request of %d rows is made up for %s of %s: it would be too large",
                rows,
                signature.name,
                self.id,
            )
            return False
        try:
            await self.servable.run(signature, inputs, outputs, deadline=self.deadline)
        except SigrunError as error:
            logger.info(
                "a request of %d rows that was made up for %s of %s failed: %s: %s",
                rows,
                signature.name,
                self.id,
                code_of(error).name,
                error,
            )
        return True


def _rows(signature: Signature, batch_rows: Sequence[int]) -> Sequence[int]:
    return batch_rows or (1,) if has_open_batch(signature) else (1,)
