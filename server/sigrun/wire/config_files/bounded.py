"""Read a file up to a bound, in bytes and in time.

A device, or what grows while it is read, would be read for ever; and a named pipe into which
nobody writes would never even open.
"""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path

from sigrun.errors import InvalidArgument

_PIPE_WAIT_S = 10.0  # a shell's <(command) writes at once
_PIECE_BYTES = 64 * 1024


def read_bounded(path: Path, max_bytes: int, *, pipe_wait_s: float = _PIPE_WAIT_S) -> bytes:
    """Return what the file holds, or what comes out of a pipe until its writer has closed it.

    Raises `InvalidArgument` if that is more than `max_bytes`, or if the end of a pipe does
    not come within `pipe_wait_s` seconds; `OSError` if it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            content = file.read(max_bytes + 1)
        else:
            content = _read_pipe(path, descriptor, max_bytes, pipe_wait_s)
    if len(content) > max_bytes:
        raise InvalidArgument(f"{path} is larger than {max_bytes} bytes")
    return content


def _read_pipe(path: Path, descriptor: int, max_bytes: int, wait_s: float) -> bytes:
    content = bytearray()
    until = time.monotonic() + wait_s
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(content) <= max_bytes:
        if not poll.poll(max(until - time.monotonic(), 0) * 1000):
            raise InvalidArgument(f"{path} is a pipe, and its end did not come in {wait_s:g} s")
        piece = os.read(descriptor, _PIECE_BYTES)
        if not piece:
            break
        content += piece
    return bytes(content)
