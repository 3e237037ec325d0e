from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.concurrency.cpus import available_cpus

V1 = "4:memory:/docker/f00\n1:cpu,cpuacct:/docker/f00\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    return root


def v1(group: str, quota: str) -> dict[str, str]:
    folder = f"sys/fs/cgroup/{group}"
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        pytest.param({}, 8, id="no cgroups"),
        pytest.param({"proc/self/cgroup": "0::/"}, 8, id="v2, no file"),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 8, id="v2, max"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2, id="v2"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"}, 3, id="v2, 2.5"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "10000 100000"}, 1, id="v2, 0.1"
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "6400000 100000"}, 8, id="v2, 64"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/cpu.max": "300000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
            },
            3,
            id="v2, of an ancestor",
        ),
        pytest.param({"proc/self/cgroup": V1} | v1("cpu", "-1"), 8, id="v1, none"),
        pytest.param({"proc/self/cgroup": V1} | v1("cpu,cpuacct", "150000"), 2, id="v1, mount"),
        pytest.param({"proc/self/cgroup": V1} | v1("cpu/docker/f00", "100000"), 1, id="v1, group"),
        pytest.param({"proc/self/cgroup": "rubbish"}, 8, id="rubbish"),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "rubbish"}, 8, id="v2, rubbish"
        ),
    ],
)
def test_the_quota_limits_what_the_affinity_permits(
    files: dict[str, str], cpus: int, tmp_path: Path
) -> None:
    assert available_cpus(machine(tmp_path, files), affinity=8) == cpus


def test_the_affinity_limits_what_the_quota_permits(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "800000 100000"}

    assert available_cpus(machine(tmp_path, files), affinity=2) == 2


def test_this_machine_has_a_cpu() -> None:
    assert available_cpus() >= 1
