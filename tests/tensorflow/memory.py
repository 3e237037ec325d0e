"""Load, run and unload a SavedModel again and again, and print the resident megabytes.

`python -m tests.tensorflow.memory PATH TIMES`: first while it was last loaded, then after each
unloading.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from .loading import threads_for


async def measure(path: Path, times: int) -> list[float]:
    """Return the resident megabytes: loaded, then after each unloading."""
    loaded, unloaded = 0.0, []
    async with threads_for(path) as (loader, _):
        for _ in range(times):
            servable = await loader.load()
            signature = servable.signatures["serving_default"]
            await servable.run(signature, {"x": np.ones(1, np.float32)}, ["y"], deadline=None)
            loaded = resident_megabytes()
            del servable
            await loader.unload()
            unloaded.append(resident_megabytes())
    return [loaded, *unloaded]


def resident_megabytes() -> float:
    """Return how much of this process is in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    print(*asyncio.run(measure(Path(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201
