"""Load a SavedModel as the server does, and run its signatures, in one line of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigrun.concurrency.load_threads import LoadThreads
from sigrun.concurrency.threads import Threads
from sigrun.config.execution import ExecutionOptions
from sigrun.executors.saved_model import SavedModelLoader
from sigrun.servables.servable import Servable, ServableId
from sigrun.tensors.signature import Array, Signature

END_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model that is loaded, and the threads that run it."""

    servable: Servable
    runners: Threads
    loader: SavedModelLoader

    async def run(
        self,
        signature: Signature | str,
        outputs: Sequence[str] | None = None,
        *,
        deadline: float | None = None,
        **inputs: Any,
    ) -> list[Array]:
        """Run a signature, for all its outputs unless some are named."""
        if isinstance(signature, str):
            signature = self.servable.signatures[signature]
        wanted = list(signature.outputs) if outputs is None else outputs
        return [*await self.servable.run(signature, inputs, wanted, deadline=deadline)]


@asynccontextmanager
async def threads_for(
    path: Path, options: ExecutionOptions | None = None
) -> AsyncIterator[tuple[SavedModelLoader, Threads]]:
    """Give a loader of `path` that has not loaded, and its runner threads."""
    options = options or ExecutionOptions()
    load_threads = LoadThreads(options.choose_load_threads(2))
    with Threads(
        name="runner",
        count=options.choose_runner_threads(2),
        max_waiting=options.max_waiting_runs,
    ) as runners:
        yield (
            SavedModelLoader(
                ServableId("model", 1),
                str(path),
                "revision",
                options=options,
                runners=runners,
                load_threads=load_threads,
            ),
            runners,
        )
        runners.close(grace_s=END_S)
        load_threads.close()


@asynccontextmanager
async def served(path: Path, options: ExecutionOptions | None = None) -> AsyncIterator[Served]:
    """Load `path`, and unload it at the end."""
    async with threads_for(path, options) as (loader, runners):
        yield Served(servable=await loader.load(), runners=runners, loader=loader)
        await loader.unload()
