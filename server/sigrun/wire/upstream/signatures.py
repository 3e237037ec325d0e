"""What is known of the signatures of models upstream: fetched once, dropped when they change.

Theory of operation. JSON has no dtypes, so that a request cannot be written before the model's
signature is known. To ask for it each time would double the calls; to keep it for some time
would send wrong dtypes for that time after every new version. So it is kept until the servers
themselves say that it is of another version, which they do in two ways:

- Every answer to Predict names the version that gave it. A request for the latest version or
  for a label is therefore sent as it is, not pinned to a version, and when the answer is
  another version's, that one's signatures are fetched, and taken from then on. The answer
  itself is good: a server checks names and dtypes, and took what it was sent.
- A server refuses what does not fit, and so does the reader of JSON. What was refused on
  account of remembered signatures is looked at once more with fresh ones. Is it refused because
  of itself, the signatures are the same and the refusal stands: only a request that is
  wrong costs a second call.

Servers may differ for a while, when a version is rolled out. Signatures are kept for
each version as well, so that going back and forth between two costs nothing. A version that
the server asked has not got is asked for again a little later, whatever comes meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from sigrun.errors import DeadlineExceeded, NotFound
from sigrun.inference.calls import MetadataResult, ModelSpec

T = TypeVar("T")

_MAX_KNOWN = 1024  # one for each version, label and "latest" that somebody asks for

# A fetch is for everybody who waits for it, so that nobody's deadline is its own.
_FETCH_TIMEOUT_S = 30.0

_Key = tuple[str, int | None, str | None]

# How often, and after how long, a version that only some servers have is asked for again.
_FOLLOWS = 10
_FOLLOW_AGAIN_S = 1.0

Fetch = Callable[[ModelSpec, float], Awaitable[MetadataResult]]
"""Asks a server for the signatures of the version that a spec names, before a deadline."""


class Signatures:
    """The signatures of the models that have been asked for, by how they were named."""

    def __init__(
        self, fetch: Fetch, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._fetch_now = fetch
        self._sleep = sleep
        self._known: dict[_Key, MetadataResult] = {}
        self._fetches: dict[_Key, asyncio.Task[MetadataResult]] = {}
        self._follows: dict[_Key, asyncio.Task[None]] = {}

    def known(self, spec: ModelSpec) -> MetadataResult | None:
        """Return what is remembered for `spec`, whatever signature it names."""
        return self._known.get(_key(spec))

    async def fetch(self, spec: ModelSpec, deadline: float | None) -> MetadataResult:
        """Return what a server says now. Who asks for the same meanwhile shares the call.

        `deadline` is in `time.monotonic` seconds. Raises what the server answers, and
        `DeadlineExceeded`.
        """
        key = _key(spec)
        task = self._fetches.get(key)
        if task is None:
            task = _begin(self._fetch(key), self._fetches, key)
        wait_s = None if deadline is None else deadline - time.monotonic()
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceeded from None

    def moved(self, spec: ModelSpec, version: int) -> None:
        """Take note that what `spec` names is `version` by now; nobody has to wait for it."""
        key = _key(spec)
        there = self._known.get((spec.name, version, None))
        if there is not None:
            self._known[key] = there
        elif key not in self._follows:
            _begin(self._follow(key, version), self._follows, key)

    async def close(self) -> None:
        """Give up the fetches that are under way."""
        tasks = [*self._fetches.values(), *self._follows.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: _Key, version: int) -> None:
        """Fetch the version that `key` has come to, from a server that has it."""
        for _ in range(_FOLLOWS):
            try:
                self._remember(key, await self._fetch((key[0], version, None)))
            except NotFound:  # another server was asked
                await self._sleep(_FOLLOW_AGAIN_S)
            else:
                return

    async def _fetch(self, key: _Key) -> MetadataResult:
        name, version, label = key
        spec = ModelSpec(name=name, version=version, label=label)
        found = await self._fetch_now(spec, time.monotonic() + _FETCH_TIMEOUT_S)
        self._remember(key, found)
        self._remember((name, found.spec.version, None), found)
        return found

    def _remember(self, key: _Key, found: MetadataResult) -> None:
        self._known.pop(key, None)
        if len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]  # the one fetched longest ago
        self._known[key] = found


def _begin(
    work: Coroutine[None, None, T], tasks: dict[_Key, asyncio.Task[T]], key: _Key
) -> asyncio.Task[T]:
    """Return the task that does `work`; it is in `tasks` until it ends."""

    def note_end(task: asyncio.Task[T]) -> None:
        del tasks[key]
        if not task.cancelled():
            task.exception()  # seen: whoever waited for it may have left

    task = tasks[key] = asyncio.create_task(work, name=f"signatures of {key[0]}")
    task.add_done_callback(note_end)
    return task


def _key(spec: ModelSpec) -> _Key:
    return spec.name, spec.version, spec.label


def agree(a: MetadataResult, b: MetadataResult) -> bool:
    """Return whether both are the same version with the same signatures."""
    return a.spec.version == b.spec.version and _definitions(a) == _definitions(b)


def _definitions(found: MetadataResult) -> dict[str, bytes]:
    return {name: signature.definition for name, signature in found.signatures.items()}
