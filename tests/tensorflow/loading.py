"""Load a SavedModel as the server does, and run its signatures, in one line of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigrun.concurrency.threads import Limits, Threads
from sigrun.config.execution import ExecutionOptions
from sigrun.executors.running import RunningModels
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
    path: Path, options: ExecutionOptions | None = None, runners: Threads | None = None
) -> AsyncIterator[tuple[SavedModelLoader, Threads]]:
    """Give a loader of `path` that has not loaded, and the threads that run it."""
    options = options or ExecutionOptions()
    with (
        Threads(
            name="runner",
            count=options.choose_runner_threads(2),
            max_waiting=options.max_queued_runs_per_model,
            limits=Limits(longest_s=options.max_run_s, overtime_s=options.max_run_overtime_s),
        ) as own_runners,
        Threads(name="load", count=options.choose_load_threads(2), max_waiting=4) as load_threads,
    ):
        runners = runners or own_runners
        yield (
            SavedModelLoader(
                ServableId("model", 1),
                str(path),
                "revision",
                options=options,
                runners=runners,
                load_threads=load_threads,
                running=RunningModels(),
            ),
            runners,
        )
        own_runners.close(grace_s=END_S)
        load_threads.close(grace_s=END_S)


@asynccontextmanager
async def served(
    path: Path, options: ExecutionOptions | None = None, runners: Threads | None = None
) -> AsyncIterator[Served]:
    """Load `path`, and unload it at the end."""
    async with threads_for(path, options, runners) as (loader, used):
        yield Served(servable=await loader.load(), runners=used, loader=loader)
        await loader.unload()
