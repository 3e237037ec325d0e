"""Versions that are loaded into every worker: what the supervisor's manager moves about."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from sigrun.errors import Internal
from sigrun.servables.servable import ServableId
from sigrun.tensors.signature import Array, Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A load that every worker is to make, one of several of a version: `key` tells which."""

    key: int
    id: ServableId
    path: str


class Workers(Protocol):
    """All workers as one."""

    async def load(self, order: Order) -> Mapping[str, Signature]:
        """Load a version into every worker. Raises the error of one that cannot."""

    async def unload(self, key: int) -> None:
        """Have every worker give back what it has loaded under this key."""


class RemoteServable:
    """A version that answers in the workers; here it only says what it is."""

    def __init__(self, key: int, signatures: Mapping[str, Signature]) -> None:
        self.key = key
        self._signatures = signatures

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature of the model by name."""
        return self._signatures

    @property
    def may_run_inline(self) -> bool:
        """Whether `run_inline` ever does anything: nobody asks the supervisor."""
        return False

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        """Raise `Internal`: nobody asks the supervisor."""
        self._refuse()

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array] | None:
        """Raise `Internal`: nobody asks the supervisor."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Internal("Models run in the workers, and not in their supervisor")


class EverywhereLoader:
    """Loads a version into every worker; implements `Loader`.

    `settled` returns when no worker directs requests any more to what is to be unloaded.
    """

    def __init__(
        self,
        order: Order,
        revision: Hashable,
        workers: Workers,
        settled: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._order = order
        self._revision = revision
        self._workers = workers
        self._settled = settled

    @property
    def id(self) -> ServableId:
        """The servable that this loads."""
        return self._order.id

    @property
    def revision(self) -> Hashable:
        """What is on disk, as seen when the loader was made."""
        return self._revision

    async def load(self) -> RemoteServable:
        """Return when every worker has loaded it. Raises why one of them cannot."""
        return RemoteServable(self._order.key, await self._workers.load(self._order))

    async def unload(self) -> None:
        """Return when no worker has it any more."""
        await self._settled()
        await self._workers.unload(self._order.key)
