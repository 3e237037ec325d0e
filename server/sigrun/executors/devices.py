"""The devices that TensorFlow computes on: which there are, and whether any is no CPU.

In: devices as TensorFlow lists them, each with a name and a kind. Pure, so that a machine without
a GPU can test it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

_ON_HOST = frozenset({"CPU", "XLA_CPU"})


class Device(Protocol):
    """One device, physical or of a session."""

    @property
    def device_type(self) -> str:
        """Its kind, such as `CPU` or `GPU`."""


def has_accelerator(devices: Iterable[Device]) -> bool:
    """Return whether a run may use something else than CPUs."""
    return any(device.device_type not in _ON_HOST for device in devices)


def summary(devices: Iterable[Device]) -> str:
    """Return how many devices of each kind there are, such as `1 CPU, 2 GPU`."""
    kinds = Counter(device.device_type for device in devices)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
