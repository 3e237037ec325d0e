"""Versions that say which one they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sigrun.tensors.signature import Array
from tests.fakes.servables import Compute


def answer_with_version(version: int) -> Compute:
    """Return a function whose output `y` is the number of the version."""

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": np.full_like(inputs["x"], version, dtype=np.float32)}

    return compute
