"""What Linux says of processes."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children(process_id: int) -> list[int]:
    """Return the processes that one has started and not yet waited for."""
    found: list[int] = []
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            found += map(int, (thread / "children").read_text().split())
    return found


def is_alive(process_id: int) -> bool:
    """Return whether a process has not ended, be it that nobody has waited for it."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
