"""Batching as a decorator: of a servable, and of the loader that loads it.

In: a servable. Out: one that answers the same, and runs requests together. It has a queue for
each set of tensors that requests feed and fetch, born with the version and drained with it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from sigrun.batching.runners import BatchRunners
from sigrun.batching.scheduler import BatchScheduler
from sigrun.batching.statistics import BatchingInstruments
from sigrun.config.batching import BatchingOptions
from sigrun.servables.servable import Loader, Servable, ServableId
from sigrun.tensors.signature import Array, Signature

JOINED_SIGNATURES = "(joined)"
"""What signatures that are put together for a request are counted under."""

_MAX_EXTRA_ROUTES = 32

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
        self._instruments = instruments
        self._signatures = servable.signatures
        # A scheduler lives as long as a route leads to it or a request is in it.
        self._schedulers: weakref.WeakValueDictionary[Hashable, BatchScheduler] = (
            weakref.WeakValueDictionary()
        )
        self._kept = {
            (name, tuple(signature.outputs)): self._make_route(signature, tuple(signature.outputs))
            for name, signature in self._signatures.items()
        }
        self._extra: OrderedDict[Hashable, _Route] = OrderedDict()

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
        """Run `signature` together with others who ask for the same; see `Servable.run`."""
        route = self._route(signature, tuple(outputs))
        if route.scheduler is None:
            return await self._servable.run(signature, inputs, outputs, deadline=deadline)
        arrays = [inputs[alias] for alias in route.inputs]
        answer = await route.scheduler.run(arrays, deadline=deadline)
        return answer if route.outputs is None else [answer[index] for index in route.outputs]

    async def drain(self) -> None:
        """Return when no request waits or runs. Nothing may come any more."""
        for scheduler in list(self._schedulers.values()):
            await scheduler.drain()

    def _route(self, signature: Signature, outputs: tuple[str, ...]) -> _Route:
        is_own = self._signatures.get(signature.name) is signature
        if is_own and (route := self._kept.get((signature.name, outputs))) is not None:
            return route
        key = (signature.name, outputs) if is_own else _contents(signature, outputs)
        route = self._extra.get(key)
        if route is None:
            route = self._extra[key] = self._make_route(signature, outputs)
            if len(self._extra) > _MAX_EXTRA_ROUTES:
                self._extra.popitem(last=False)
        self._extra.move_to_end(key)
        return route

    def _make_route(self, signature: Signature, outputs: tuple[str, ...]) -> _Route:
        specs = signature.inputs.values()
        fetched = [signature.outputs[alias].name for alias in outputs]
        if any(not spec.name for spec in specs) or "" in fetched:
            return _Route(None, (), None)  # the executor says what is wrong with these
        key = frozenset((spec.name, spec.dtype) for spec in specs), frozenset(fetched)
        scheduler = self._schedulers.get(key)
        if scheduler is None:
            scheduler = self._schedulers[key] = self._make_scheduler(signature, outputs)
        # Of several aliases for one tensor the first counts, as with the executor.
        aliases: dict[str, str] = {}
        for alias, spec in signature.inputs.items():
            aliases.setdefault(spec.name, alias)
        order = tuple(scheduler.output_names.index(name) for name in fetched)
        return _Route(
            scheduler,
            tuple(aliases[name] for name in scheduler.input_names),
            order if order != tuple(range(len(scheduler.output_names))) else None,
        )

    def _make_scheduler(self, signature: Signature, outputs: tuple[str, ...]) -> BatchScheduler:
        name = signature.name if signature.name in self._signatures else JOINED_SIGNATURES
        return BatchScheduler(
            self._servable,
            signature,
            outputs,
            options=self._options,
            runners=self._runners,
            recorder=self._instruments.recorder(self._id.name, name),
        )


class BatchingLoader:
    """Loads what `loader` does and batches it; implements `Loader`."""

    def __init__(
        self,
        loader: Loader,
        *,
        read_options: ReadOptions,
        runners: BatchRunners,
        instruments: BatchingInstruments,
    ) -> None:
        self._loader = loader
        self._read_options = read_options
        self._runners = runners
        self._instruments = instruments
        self._batched: BatchedServable | None = None

    @property
    def id(self) -> ServableId:
        """The servable that this loads."""
        return self._loader.id

    @property
    def revision(self) -> Hashable:
        """What is on disk, as seen when the loader was made."""
        return self._loader.revision

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


@dataclass(frozen=True, slots=True)
class _Route:
    """How a request goes through a scheduler: its inputs in order, and back its outputs."""

    scheduler: BatchScheduler | None  # None: past it
    inputs: tuple[str, ...]
    outputs: tuple[int, ...] | None  # None: as they come


def _contents(signature: Signature, outputs: tuple[str, ...]) -> Hashable:
    return (
        tuple((alias, spec.name, spec.dtype) for alias, spec in signature.inputs.items()),
        tuple((alias, signature.outputs[alias].name) for alias in outputs),
    )
