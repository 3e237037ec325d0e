"""How many CPUs this process may use: its affinity, limited by its cgroup's quota.

The host's number of CPUs says little in a container: a thread for each of 64 cores under
a quota of 2 spends its time throttled.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from sigrun.concurrency import cgroups


def available_cpus(root: Path = Path("/"), affinity: int | None = None) -> int:
    """Return the number of CPUs to fill, at least 1; a part of a CPU counts as one.

    `root` and `affinity` stand for the machine in tests: its file system, and how many
    CPUs the scheduler lets the process run on.
    """
    limit = _affinity() if affinity is None else affinity
    found = cgroups.limits(root, "cpu", _read_v2, _read_v1)
    quotas = [math.ceil(quota) for quota in found]
    return max(1, min([limit, *quotas]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_v2(group: Path) -> float | None:
    """Return the quota in `cpu.max`: microseconds of CPU time per period, or `max`."""
    quota, _, period = cgroups.read(group / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _read_v1(group: Path) -> float | None:
    """Return the quota in the two files of version 1; -1 is none."""
    return _ratio(
        cgroups.read(group / "cpu.cfs_quota_us"), cgroups.read(group / "cpu.cfs_period_us")
    )


def _ratio(quota: str, period: str) -> float | None:
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None
