"""Real SavedModels, each kind built once and kept in `.cache/saved_models`.

The cache's key is the builders' text and TensorFlow's version, so that it is never stale, and a
process that finds everything there doesn't import TensorFlow for it.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILDERS = HERE / "tensorflow" / "saved_models"
CACHE = HERE.parent / ".cache" / "saved_models"


def cached(kind: str) -> Path:
    """Return the SavedModel of a kind (a name in KINDS), for reading only."""
    return _built(CACHE / _cache_key() / kind)


@functools.cache
def _cache_key() -> str:
    digest = hashlib.sha256()
    for dist in ("tensorflow", "keras"):
        digest.update(f"{dist} {version(dist)}\n".encode())
    for source in sorted(BUILDERS.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _built(path: Path) -> Path:
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
