"""How much memory this process may use: the machine's, limited by its control groups."""

from __future__ import annotations

from pathlib import Path

from sigrun.concurrency import cgroups

# What is in flight is decoded, run and encoded, and so is there several times.
_IN_FLIGHT_SHARE = 4
_UNKNOWN_BYTES = 4 << 30  # where there is no /proc


def available_bytes(root: Path = Path("/")) -> int:
    """Return the memory that the process may fill. `root` stands for the machine in tests."""
    limits = cgroups.limits(
        root,
        "memory",
        lambda group: _number(group / "memory.max"),
        lambda group: _number(group / "memory.limit_in_bytes"),
    )
    return min([_machine_bytes(root), *limits])


def share_in_flight() -> int:
    """Return the bytes of requests and answers that may be in flight."""
    return available_bytes() // _IN_FLIGHT_SHARE


def _machine_bytes(root: Path) -> int:
    for line in cgroups.read(root / "proc/meminfo").splitlines():
        name, _, size = line.partition(":")
        if name == "MemTotal":
            return int(size.split()[0]) * 1024
    return _UNKNOWN_BYTES


def _number(path: Path) -> int | None:
    text = cgroups.read(path)  # version 2 says `max` for none
    return int(text) if text.isdecimal() else None
