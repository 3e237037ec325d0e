"""What the control groups of this process say about it, in version 1 and 2 alike.

A limit binds everything below it, so that those of all ancestors count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")


def limits(
    root: Path,
    controller: str,
    read_v2: Callable[[Path], T | None],
    read_v1: Callable[[Path], T | None],
) -> Iterator[T]:
    """Yield the limits of `controller` on this process, each as read from a group's folder.

    `root` is where the file system begins, for tests.
    """
    for controllers, group in _memberships(root):
        if controllers == [""]:
            mount, read_limit = root / "sys/fs/cgroup", read_v2
        elif controller in controllers:
            joined = ",".join(controllers)
            is_joint = (root / "sys/fs/cgroup" / joined).is_dir()
            mount = root / "sys/fs/cgroup" / (joined if is_joint else controller)
            read_limit = read_v1
        else:
            continue
        # In a container the path may be the host's and lead nowhere; the mount point itself is
        # then the group.
        for ancestor in (group, *group.parents):
            limit = read_limit(mount / ancestor.relative_to("/"))
            if limit is not None:
                yield limit


def _memberships(root: Path) -> Iterator[tuple[list[str], PurePosixPath]]:
    """Yield controllers and path of each line of /proc/self/cgroup; version 2 has none."""
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        yield controllers.split(","), PurePosixPath("/") / group


def read(path: Path) -> str:
    """Return the text of a file, empty if there is none to read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
