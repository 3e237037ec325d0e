"""A SavedModel in memory: its signatures, and the calls that are prepared for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sigrun.executors.prepared import Call, Names, PreparedCall, PreparedCalls, tensor_names
from sigrun.tensors.signature import Signature


class Executor(Protocol):
    """Makes calls of one model."""

    @property
    def runs_in_caller(self) -> bool:
        """Whether a call runs in the thread that makes it, from its begin to its end."""

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        """Return a call that feeds and fetches the tensors with these names."""

    def shares_session(self, other: Executor) -> bool:
        """Return whether closing one of the two closes the other."""

    def close(self) -> None:
        """Give everything back that no running call needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready: a call is prepared for each signature that can be called.

    `renew` makes another from what this one holds, without its runs: closing this one then
    ends those that loop or wait. None where that would end nothing, or lose state. It takes as
    long as loading, and raises TensorFlow's own errors.
    """

    signatures: Mapping[str, Signature]
    calls: PreparedCalls
    executor: Executor
    renew: Callable[[], LoadedModel] | None = None

    def prepared(self) -> Iterator[tuple[Signature, PreparedCall]]:
        """Yield the signatures for which a call could be prepared, with it."""
        for signature in filter(is_callable, self.signatures.values()):
            call = self.calls.find(*tensor_names(signature, signature.outputs))
            if call is not None:
                yield signature, call

    def close(self) -> None:
        """Give back what the model takes."""
        self.calls.clear()
        self.executor.close()


def is_callable(signature: Signature) -> bool:
    """Return whether every tensor has a name and a type that can travel; an op has neither."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.outputs) and all(spec.name and spec.dtype for spec in specs)
