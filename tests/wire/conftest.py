"""Every test here has a server of its own, on free ports of the loopback interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx

from sigrun.servables import file_source
from tests.wire.rig import Rig


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    """Make a blocking call of the server's own code, on the event loop, an error."""
    with blockbuster_ctx("sigrun") as blockbuster:
        locks = blockbuster.functions["threading.Lock.acquire"]
        # A lock that is held for a few instructions; a thread that is being started.
        locks.can_block_in("sigrun/concurrency/threads.py", ("__init__", "_enqueue", "_withdraw"))
        locks.can_block_in("sigrun/concurrency/daemons.py", ("_start",))
        # gRPC waits for a thread of its own when the last server is garbage, whoever runs then.
        locks.can_block_in("threading.py", ("join",))
        yield


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once for versions that have just been put there."""
    monkeypatch.setattr(file_source, "_QUICK_S", 0.01)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    await rig.close()
