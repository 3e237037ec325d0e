"""Calls that are ready to run, by the tensors that go in and come out.

In: names of tensors. Out: a function from arrays to arrays. Making one takes TensorFlow
milliseconds and a copy of the graph, so the complete signatures' are made at load and
kept, and what else is asked for is made once and the least recently used given up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sigrun.errors import InvalidArgument, Unavailable
from sigrun.executors.placement import Placement
from sigrun.tensors.signature import Array, Signature

Names = tuple[str, ...]
Call = Callable[[Sequence[Array]], Sequence[Array]]
"""Arrays of the inputs in, arrays of the outputs out, in the order of the names."""

MakeCall = Callable[[Names, Names], Call]
"""Makes a call from names to feed and names to fetch: each once, none in both."""

MayBeInline = Callable[[Names], bool]
"""Says whether a call that fetches these may run on the event loop, if it is short."""

_MAX_EXTRA_CALLS = 32


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that is made, and where to run it; without a placement always in a thread."""

    call: Call
    placement: Placement | None


def tensor_names(signature: Signature, outputs: Iterable[str]) -> tuple[Names, Names]:
    """Return the tensors of the signature's inputs, and those of `outputs` (aliases)."""
    return (
        tuple([spec.name for spec in signature.inputs.values()]),
        tuple([signature.outputs[alias].name for alias in outputs]),
    )


def input_bytes(arrays: Iterable[Array]) -> int:
    """Return how large inputs are; a string counts as long as it is, and as its pointer."""
    total = 0
    for array in arrays:
        total += array.nbytes
        if array.dtype == object:
            total += sum(map(len, array.flat))
    return total


class PreparedCalls:
    """The calls of one model; used by many threads at the same time."""

    def __init__(
        self,
        make_call: MakeCall,
        may_be_inline: MayBeInline = lambda _: False,
        *,
        max_extra: int = _MAX_EXTRA_CALLS,
    ) -> None:
        self._make_call = make_call
        self._may_be_inline = may_be_inline
        self._max_extra = max_extra
        self._kept: dict[tuple[Names, Names], PreparedCall] = {}
        self._extra: OrderedDict[tuple[Names, Names], PreparedCall] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, inputs: Names, outputs: Names) -> None:
        """Make the call now, and keep it as long as the model."""
        self._kept[inputs, outputs] = self._made(inputs, outputs)

    def find(self, inputs: Names, outputs: Names) -> PreparedCall | None:
        """Return the call if it is there; never waits, so that it may be asked anywhere."""
        key = inputs, outputs
        kept = self._kept.get(key)
        if kept is not None or not self._extra:
            return kept
        if not self._lock.acquire(blocking=False):  # another one is being made
            return None
        try:
            call = self._extra.get(key)
            if call is not None:
                self._extra.move_to_end(key)
            return call
        finally:
            self._lock.release()

    def get(self, inputs: Names, outputs: Names) -> PreparedCall:
        """Return the call, made if need be. Raises what TensorFlow says of unknown names."""
        kept = self._kept.get((inputs, outputs))
        return kept if kept is not None else self._get_extra(inputs, outputs)

    def renewed(self, make_call: MakeCall) -> PreparedCalls:
        """Return calls for the same names, made anew; what is known of their runs is kept."""
        other = PreparedCalls(make_call, self._may_be_inline, max_extra=self._max_extra)
        for names, old in self._kept.items():
            other._kept[names] = PreparedCall(prepare(*names, make_call), old.placement)
        return other

    def clear(self) -> None:
        """Forget every call, and refuse to make others; one that runs holds the model itself."""
        with self._lock:
            self._make_call = _refuse  # the other one holds the model
            self._kept = {}
            self._extra.clear()

    def _made(self, inputs: Names, outputs: Names) -> PreparedCall:
        call = prepare(inputs, outputs, self._make_call)
        return PreparedCall(call, Placement() if self._may_be_inline(outputs) else None)

    def _get_extra(self, inputs: Names, outputs: Names) -> PreparedCall:
        key = inputs, outputs
        with self._lock:  # held while making: two threads must not make the same one
            call = self._extra.get(key)
            if call is None:
                call = self._extra[key] = self._made(inputs, outputs)
                if len(self._extra) > self._max_extra:
                    self._extra.popitem(last=False)
            self._extra.move_to_end(key)
            return call


def prepare(inputs: Names, outputs: Names, make_call: MakeCall) -> Call:
    """Return the call for names of which some may be twice, or among both.

    A tensor is fed and fetched once, whatever number of aliases it has, and one that is
    fed is not fetched, which TensorFlow refuses, but handed back.
    """
    if "" in inputs or "" in outputs:
        raise InvalidArgument(
            "The signature has a sparse or composite tensor, which cannot travel in a request"
        )
    feeds = tuple(dict.fromkeys(inputs))
    fetches = tuple(name for name in dict.fromkeys(outputs) if name not in feeds)
    call = make_call(feeds, fetches) if fetches else _fetch_nothing
    if feeds == inputs and fetches == outputs:
        return call
    return _rearranged(call, inputs, outputs, feeds + fetches)


def _refuse(_feeds: Names, _fetches: Names) -> Call:
    raise Unavailable("The model is being unloaded")


def _fetch_nothing(_arrays: Sequence[Array]) -> Sequence[Array]:
    return ()


def _rearranged(call: Call, inputs: Names, outputs: Names, tensors: Names) -> Call:
    fed = [inputs.index(name) for name in dict.fromkeys(inputs)]
    wanted = [tensors.index(name) for name in outputs]

    def rearranged(arrays: Sequence[Array]) -> Sequence[Array]:
        feeds = [arrays[index] for index in fed]
        everything = [*feeds, *call(feeds)]
        return [everything[index] for index in wanted]

    return rearranged
