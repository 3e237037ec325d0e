"""How long the property-based tests look: briefly in `make test`, long in `make fuzz`.

The brief form tries the same examples each time, so that it fails for the change at hand only. The
long form tries new ones on every run.
"""

from __future__ import annotations

import os

from hypothesis import settings

IS_LONG = bool(os.environ.get("SIGRUN_FUZZ"))  # set by `make fuzz`

settings.register_profile("brief", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=1_000, deadline=None)


def load_profile() -> None:
    """Choose how many examples Hypothesis tries, for all tests of this process."""
    settings.load_profile("long" if IS_LONG else "brief")


def rounds(brief: int) -> int:
    """Return how often a test with random numbers of its own tries something."""
    return brief * (40 if IS_LONG else 1)
