"""Servers of fakes for the client, each on free ports of the loopback interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sigrun.servables import file_source
from tests.wire.rig import Rig


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once for versions that have just been put there."""
    monkeypatch.setattr(file_source, "_QUICK_S", 0.01)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "one")
    (tmp_path / "one").mkdir()
    yield rig
    await rig.close()


@pytest_asyncio.fixture
async def other_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return another server."""
    rig = Rig(tmp_path / "other")
    (tmp_path / "other").mkdir()
    yield rig
    await rig.close()
