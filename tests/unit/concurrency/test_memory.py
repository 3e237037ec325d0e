"""How much memory there is, in machines made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.concurrency.memory import available_bytes

GB = 1 << 30


def machine(root: Path, **files: str) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 1 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 * GB),
        ({"sys/fs/cgroup/memory.max": "max\n"}, 8 * GB),
        ({"sys/fs/cgroup/memory.max": f"{2 * GB}\n"}, 2 * GB),
        ({"sys/fs/cgroup/memory.max": f"{99 * GB}\n"}, 8 * GB),
        ({"sys/fs/cgroup/a/memory.max": f"{GB}", "sys/fs/cgroup/memory.max": f"{2 * GB}"}, GB),
        ({"sys/fs/cgroup/a/memory.max": f"{3 * GB}", "sys/fs/cgroup/memory.max": f"{GB}"}, GB),
    ],
)
def test_the_smallest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    root = machine(tmp_path, **{"proc/self/cgroup": "0::/a/b\n", **files})

    assert available_bytes(root) == expected


def test_version_1_has_a_folder_for_memory(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        **{
            "proc/self/cgroup": "4:memory:/docker/x\n3:cpu,cpuacct:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GB}\n",
        },
    )

    assert available_bytes(root) == GB


def test_without_proc_some_is_taken_for_granted(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) == 4 * GB
