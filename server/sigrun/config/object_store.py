"""Where models from object stores are kept on this machine, and how much of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sigrun.errors import InvalidArgument


def default_cache_dir() -> Path:
    """Return the folder for this user's caches of models."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "sigrun" / "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStoreOptions:
    """How models are fetched.

    `cache_bytes` bounds what is kept in `cache_dir`, versions in use included; 0: half of what
    its disk has free. Raises `InvalidArgument` for a size below zero or a time that is none.
    """

    cache_dir: Path = field(default_factory=default_cache_dir)
    cache_bytes: int = 0
    max_fetch_s: float = 1800.0

    def __post_init__(self) -> None:
        if self.cache_bytes < 0:
            raise InvalidArgument(f"the size of a cache is 0 or more, not {self.cache_bytes}")
        if not self.max_fetch_s > 0:
            raise InvalidArgument(f"the time to fetch is more than 0 s, not {self.max_fetch_s:g}")
