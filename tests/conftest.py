"""Fixtures with real SavedModels, from the cache; what holds for every test process."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.fuzzing import load_profile
from tests.saved_model_cache import cached

load_profile()
# What tests say of placement, rounding and memory is true of CPUs, whatever machine they run on.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from the tests themselves, thousands of objects that all stay."""
    gc.collect()
    gc.freeze()


SavedModel = Callable[[str], Path]
MakeBasePath = Callable[[Mapping[int, str]], Path]


@pytest.fixture(scope="session")
def saved_model() -> SavedModel:
    """Return a function from a kind (a name in KINDS) to its SavedModel, for reading only."""
    return cached


@pytest.fixture
def make_base_path(saved_model: SavedModel, tmp_path: Path) -> MakeBasePath:
    """Return a function from {version number: kind} to a new base path with copies of them."""

    def make(kinds: Mapping[int, str]) -> Path:
        base_path = Path(tempfile.mkdtemp(prefix="base-path-", dir=tmp_path))
        # Made before the first is copied: versions that are as old as each other settle together.
        sources = {number: saved_model(kind) for number, kind in kinds.items()}
        for number, source in sources.items():
            _copy(source, base_path / str(number))
        return base_path

    return make


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
