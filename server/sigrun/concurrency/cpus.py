"""How many CPUs this process may use: its affinity, limited by its cgroup's quota.

The host's number of CPUs says little in a container: a thread for each of 64 cores under
a quota of 2 spends its time throttled.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_cpus(root: Path = Path("/"), affinity: int | None = None) -> int:
    """Return the number of CPUs to fill, at least 1; a part of a CPU counts as one.

    `root` and `affinity` stand for the machine in tests: its file system, and how many
    CPUs the scheduler lets the process run on.
    """
    limit = _affinity() if affinity is None else affinity
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([limit, *quotas]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quota, in CPUs, of each control group that this process is in."""
    for controllers, group in _memberships(root):
        if controllers == [""]:
            mount, read = root / "sys/fs/cgroup", _read_v2
        elif "cpu" in controllers:
            mount, read = root / "sys/fs/cgroup" / _v1_mount(root, controllers), _read_v1
        else:
            continue
        # A quota binds everything below it. In a container the path may be the host's and
        # lead nowhere; the mount point itself is then the group.
        for ancestor in (group, *group.parents):
            quota = read(mount / ancestor.relative_to("/"))
            if quota is not None:
                yield quota


def _memberships(root: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Yield controllers and path of each line of /proc/self/cgroup; version 2 has none."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        yield controllers.split(","), PurePosixPath("/") / group


def _v1_mount(root: Path, controllers: list[str]) -> str:
    joined = ",".join(controllers)
    return joined if (root / "sys/fs/cgroup" / joined).is_dir() else "cpu"


def _read_v2(group: Path) -> float | None:
    """Return the quota in `cpu.max`: microseconds of CPU time per period, or `max`."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    return _ratio(quota, period)


def _read_v1(group: Path) -> float | None:
    """Return the quota in the two files of version 1; -1 is none."""
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
