"""Read a file up to a bound: a device, or what grows while it is read, would be read for ever."""

from __future__ import annotations

from pathlib import Path

from sigrun.errors import InvalidArgument


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return what the file holds.

    Raises `InvalidArgument` if that is more than `max_bytes`, `OSError` if it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InvalidArgument(f"{path} is larger than {max_bytes} bytes")
    return content
