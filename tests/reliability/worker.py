"""A worker without TensorFlow: `python -m tests.reliability.worker`, as a supervisor starts it."""

from __future__ import annotations

from pathlib import Path

from sigrun.servables.servable import ServableId
from sigrun.workers.worker import main
from tests.fakes.servables import HALF_PLUS_TWO, FakeLoader, FakeServable
from tests.fakes.versions import answer_with_version


def make_loader(id: ServableId, _path: Path, revision: object) -> FakeLoader:
    """Return the loader of a version that answers with its number."""
    servable = FakeServable((HALF_PLUS_TWO,), answer_with_version(id.version))
    return FakeLoader(id, servable=servable)


if __name__ == "__main__":
    main(make_loader)
