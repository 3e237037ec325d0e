"""Batching as a decorator: of a servable, and of the loader that loads it.

In: a servable. Out: one that answers the same, and runs requests together where that cannot change
an answer. It has a queue for each set of tensors that requests feed and fetch, born with the
version and drained with it.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any

from sigrun.batching.runners import BatchRunners
from sigrun.batching.runs import Route, Runs
from sigrun.batching.scheduler import BatchScheduler
from sigrun.batching.statistics import BatchingInstruments
from sigrun.config.batching import BatchingOptions
from sigrun.servables.servable import Loader, LoaderAround, Servable, ServableId
from sigrun.tensors.signature import Array, Signature, TensorSpec

logger = logging.getLogger(__name__)

_identity = id  # which is also what a servable's name and version are called

JOINED_SIGNATURES = "(joined)"
"""What signatures that are put together for a request are counted under."""

_MAX_EXTRA_WAYS = 32

ReadOptions = Callable[[], BatchingOptions | None]
"""Reads how a version is batched, in a thread; None: it is not."""


class BatchedServable:
    """Runs the requests for `servable` in batches; implements `Servable`.

    Requests meet when they feed and fetch the same tensors, whatever signature and aliases
    they use. A queue for all outputs of a signature lives as long as the version; of the
    others, which come from output filters and joined signatures, the last used ones are kept.
    """

    def __init__(
        self,
        id: ServableId,
        servable: Servable,
        *,
        options: BatchingOptions,
        runners: BatchRunners,
        instruments: BatchingInstruments,
    ) -> None:
        self._id = id
        self._servable = servable
        self._options = options
        self._runners = runners
        self._share = runners.share(id.name)
        self._instruments = instruments
        self._signatures = servable.signatures
        # A scheduler lives as long as a way leads to it or a request is in it.
        self._schedulers: weakref.WeakValueDictionary[Hashable, BatchScheduler] = (
            weakref.WeakValueDictionary()
        )
        # By identity: these signatures live as long as this does, and hashing one takes long.
        self._kept: dict[tuple[int, Sequence[str]], _Way] = {}
        for name, signature in self._signatures.items():
            outputs = tuple(signature.outputs)
            way = self._make_way(signature, outputs)
            self._kept[_identity(signature), outputs] = way
            if way is not None and (objection := way[0].runs.rule.objection) is not None:
                logger.info("Requests for %s run one by one: %s", self._name(name), objection)
        self._extra: OrderedDict[Hashable, _Way] = OrderedDict()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature of the model by name, those that cannot be called included."""
        return self._signatures

    @property
    def may_run_inline(self) -> bool:
        """Whether `run_inline` may have an answer at the moment."""
        if self._servable.may_run_inline:
            for way in self._kept.values():
                if way is not None and way[0].may_run_inline:
                    return True
        return False

    # Not a coroutine function: every request would pay for one more that only waits.
    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Coroutine[Any, Any, Sequence[Array]]:
        """Run `signature` together with others who ask for the same; see `Servable.run`."""
        outputs = tuple(outputs)
        key = (_identity(signature), outputs)
        way = self._kept[key] if key in self._kept else self._extra_way(signature, outputs)
        if way is None:
            return self._servable.run(signature, inputs, outputs, deadline=deadline)
        scheduler, route = way
        return scheduler.run(route, inputs, deadline=deadline)

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array] | None:
        """Run `signature` at once where batching could do nothing for it; see `Servable`."""
        way = self._kept.get((_identity(signature), tuple(outputs)))
        if way is None:
            return None
        scheduler, route = way
        return scheduler.run_inline(route, inputs, deadline=deadline)

    async def drain(self) -> None:
        """Return when no request waits or runs. Nothing may come any more."""
        for scheduler in list(self._schedulers.values()):
            await scheduler.drain()

    def _extra_way(self, signature: Signature, outputs: tuple[str, ...]) -> _Way:
        is_own = self._signatures.get(signature.name) is signature
        key = (signature.name, outputs) if is_own else _contents(signature, outputs)
        if key not in self._extra:
            self._extra[key] = self._make_way(signature, outputs)
            if len(self._extra) > _MAX_EXTRA_WAYS:
                self._extra.popitem(last=False)
        self._extra.move_to_end(key)
        return self._extra[key]

    def _make_way(self, signature: Signature, outputs: tuple[str, ...]) -> _Way:
        fetched = [signature.outputs[alias].name for alias in outputs]
        if "" in fetched or any(not spec.name for spec in signature.inputs.values()):
            return None
        key = (
            frozenset(map(_tensor, signature.inputs.values())),
            frozenset(_tensor(signature.outputs[alias]) for alias in outputs),
        )
        scheduler = self._schedulers.get(key)
        if scheduler is None:
            scheduler = self._schedulers[key] = self._make_scheduler(signature, outputs)
        # Of several aliases for one tensor the first counts, as with the executor.
        aliases: dict[str, str] = {}
        for alias, spec in signature.inputs.items():
            aliases.setdefault(spec.name, alias)
        runs = scheduler.runs
        order = tuple(runs.output_names.index(name) for name in fetched)
        return scheduler, Route(
            signature=signature,
            inputs=tuple(aliases[name] for name in runs.input_names),
            lead=next((alias for alias, spec in signature.inputs.items() if spec.shape != ()), ""),
            outputs=outputs,
            order=order if order != tuple(range(len(runs.output_names))) else None,
        )

    def _make_scheduler(self, signature: Signature, outputs: tuple[str, ...]) -> BatchScheduler:
        name = signature.name if signature.name in self._signatures else JOINED_SIGNATURES
        recorder = self._instruments.recorder(self._id.name, name)
        runs = Runs(
            self._servable,
            signature,
            outputs,
            name=self._name(signature.name),
            options=self._options,
            recorder=recorder,
            clock=self._runners.clock,
        )
        return BatchScheduler(
            runs,
            options=self._options,
            runners=self._runners,
            share=self._share,
            recorder=recorder,
        )

    def _name(self, signature: str) -> str:
        return f"signature {signature} of {self._id}"


class BatchingLoader(LoaderAround):
    """Loads what `loader` does and batches it; implements `Loader`."""

    def __init__(
        self,
        loader: Loader,
        *,
        read_options: ReadOptions,
        runners: BatchRunners,
        instruments: BatchingInstruments,
    ) -> None:
        super().__init__(loader)
        self._read_options = read_options
        self._runners = runners
        self._instruments = instruments
        self._batched: BatchedServable | None = None

    async def load(self) -> Servable:
        """Load the version. Raises a `SigrunError`, also for bad batching parameters of it."""
        options = await asyncio.to_thread(self._read_options)
        servable = await self._loader.load()
        if options is None:
            return servable
        self._batched = BatchedServable(
            self._loader.id,
            servable,
            options=options,
            runners=self._runners,
            instruments=self._instruments,
        )
        return self._batched

    async def unload(self) -> None:
        """Finish what waits, then give back everything that `load` took."""
        batched, self._batched = self._batched, None
        if batched is not None:
            await batched.drain()
        await self._loader.unload()


_Way = tuple[BatchScheduler, Route] | None
"""How a request is run; None: past batching, as a tensor has no name. The executor says so."""


def _contents(signature: Signature, outputs: tuple[str, ...]) -> Hashable:
    return (
        tuple([(alias, *_tensor(spec)) for alias, spec in signature.inputs.items()]),
        tuple([(alias, *_tensor(signature.outputs[alias])) for alias in outputs]),
    )


def _tensor(spec: TensorSpec) -> tuple[Hashable, ...]:
    return spec.name, spec.dtype, spec.shape
