"""The three contracts of the lifecycle: servable id, loader, servable; and what loaders share.

A source makes loaders (cheap), the manager loads them and pins the servables that come
of it, executors and batching implement both. Everything runs on the event loop; what
blocks goes to threads inside the implementation.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sigrun.tensors.signature import Array, Signature


@dataclass(frozen=True, slots=True, order=True)
class ServableId:
    """Name and version of one servable, written `mnist:3`."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Servable(Protocol):
    """One loaded version, ready to run.

    Held only through a handle; nobody calls it after its loader's `unload`.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature of the model by name, those that cannot be called included."""

    @property
    def may_run_inline(self) -> bool:
        """Whether `run_inline` may have an answer now; if not, nobody need ask."""

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        """Run `signature` on `inputs` and return the arrays of `outputs`, in that order.

        `inputs` has exactly the signature's aliases, with the dtypes it says;
        `outputs` are aliases, each once. `deadline` is in `time.monotonic` seconds.
        `signature` is one of `signatures`, or several joined into one: executors go by
        the tensor names in it.

        Raises a `SigrunError`: what the model raised, with its code and its text,
        `DeadlineExceeded`, or `Unavailable` when too much is waiting already.
        """

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array] | None:
        """Do what `run` does, at once; return None where that may take long, and `run` it then.

        It spares the many requests of a quick model a coroutine. Raises what `run` raises.
        """


class Loader(Protocol):
    """Knows how to load and unload one version; cheap until `load`.

    The manager calls `load` once at a time and again after a failure, then `unload` once
    when no handle is left. After a failed `load` nothing stays behind.
    """

    @property
    def id(self) -> ServableId:
        """The servable that this loads."""

    @property
    def revision(self) -> Hashable:
        """What is on disk, as seen when the loader was made.

        A version that failed to load is tried again when a loader comes with another.
        """

    async def load(self) -> Servable:
        """Load the version. Raises a `SigrunError` that says why it cannot be served."""

    async def unload(self) -> None:
        """Give back everything that `load` took."""


class LoaderAround:
    """What loaders have in common that add something to the load of another one."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    @property
    def id(self) -> ServableId:
        """The servable that this loads."""
        return self._loader.id

    @property
    def revision(self) -> Hashable:
        """What is on disk, as seen when the loader was made."""
        return self._loader.revision

    async def unload(self) -> None:
        """Give back everything that `load` took."""
        await self._loader.unload()
