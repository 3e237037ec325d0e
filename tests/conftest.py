"""Fixtures with real SavedModels; each kind is built once and kept in `.cache/saved_models`.

The cache's key is the builders' text and TensorFlow's version, so that it is never stale, and a
test run that finds everything there doesn't import TensorFlow for it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BUILDERS = HERE / "tensorflow" / "saved_models"
CACHE = HERE.parent / ".cache" / "saved_models"

SavedModel = Callable[[str], Path]
MakeBasePath = Callable[[Mapping[int, str]], Path]


@pytest.fixture(scope="session")
def saved_model() -> SavedModel:
    """Return a function from a kind (a name in KINDS) to its SavedModel, for reading only."""
    folder = CACHE / _cache_key()
    return lambda kind: _cached(folder / kind)


@pytest.fixture
def make_base_path(saved_model: SavedModel, tmp_path: Path) -> MakeBasePath:
    """Return a function from {version number: kind} to a new base path with copies of them."""

    def make(kinds: Mapping[int, str]) -> Path:
        base_path = Path(tempfile.mkdtemp(prefix="base-path-", dir=tmp_path))
        for number, kind in kinds.items():
            _copy(saved_model(kind), base_path / str(number))
        return base_path

    return make


def _cache_key() -> str:
    digest = hashlib.sha256()
    for dist in ("tensorflow", "keras"):
        digest.update(f"{dist} {version(dist)}\n".encode())
    for source in sorted(BUILDERS.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _cached(path: Path) -> Path:
    """Return `path`, built if need be: under another name first, as other processes look too."""
    if path.exists():
        return path
    from tests.tensorflow.saved_models import KINDS  # imports TensorFlow

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="unfinished-") as folder:
        unfinished = Path(folder) / path.name
        KINDS[path.name](unfinished)
        try:
            unfinished.replace(path)
        except OSError:
            if not path.exists():  # else another process was first
                raise
    return path


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
