from __future__ import annotations

from dataclasses import dataclass

import pytest

from sigrun.executors.devices import has_accelerator, summary


@dataclass(frozen=True)
class FakeDevice:
    device_type: str


@pytest.mark.parametrize(
    ("kinds", "has", "text"),
    [
        ([], False, "none"),
        (["CPU"], False, "1 CPU"),
        (["CPU", "CPU", "XLA_CPU"], False, "2 CPU, 1 XLA_CPU"),
        (["CPU", "GPU", "GPU"], True, "1 CPU, 2 GPU"),
        (["CPU", "TPU"], True, "1 CPU, 1 TPU"),
    ],
)
def test_devices_are_counted_and_anything_but_a_cpu_is_an_accelerator(
    kinds: list[str], has: bool, text: str
) -> None:
    devices = [FakeDevice(kind) for kind in kinds]

    assert (has_accelerator(devices), summary(devices)) == (has, text)
