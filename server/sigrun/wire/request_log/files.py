"""The files of one request log: another one when one is full or old, and no more than fit.

In: records, in one thread. Out: `PREFIX.20260131T120000Z-PID-1.tfrecord`, and so on. Only files
with names of this form are ever deleted, the oldest first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path

from sigrun.config.request_log import LogKind, RequestLogLimits

_STAMP = "%Y%m%dT%H%M%SZ"


class LogFiles:
    """Where the records of one prefix go. `name` tells the files of this process from others'."""

    def __init__(
        self,
        prefix: str,
        kind: LogKind,
        limits: RequestLogLimits,
        *,
        name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._prefix = Path(prefix)
        self._kind = kind
        self._limits = limits
        self._name = name
        self._clock = clock
        self._file: BufferedWriter | None = None
        self._began_at = 0.0
        self._bytes = 0
        self._count = 0

    def write(self, record: bytes) -> None:
        """Append a record, to another file if this one is full. Raises `OSError`.

        A record that cannot be written whole is not there in part either.
        """
        if self._file is not None and self._bytes + len(record) > self._limits.max_file_bytes:
            self.close()
        file = self._file or self._open()
        try:
            file.write(record)
            file.flush()
        except OSError:
            with suppress(OSError):
                file.truncate(self._bytes)
            self.close()
            raise
        self._bytes += len(record)

    def close_if_old(self) -> None:
        """End the file if it is old enough; the next record begins another."""
        if self._file is not None and self._clock() - self._began_at >= self._limits.max_file_age_s:
            self.close()

    def close(self) -> None:
        """End the file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what could not be written was told of by `write`
                file.close()

    def _open(self) -> BufferedWriter:
        self._prefix.parent.mkdir(parents=True, exist_ok=True)
        self._make_room()
        self._began_at = self._clock()
        self._count += 1
        stamp = time.strftime(_STAMP, time.gmtime(self._began_at))
        name = f"{self._prefix.name}.{stamp}-{self._name}-{self._count}.{self._kind.value}"
        self._file = (self._prefix.parent / name).open("xb")
        self._bytes = 0
        return self._file

    def _make_room(self) -> None:
        """Delete the oldest files until another one fits."""
        pattern = re.compile(
            re.escape(self._prefix.name) + rf"\.\d{{8}}T\d{{6}}Z-\w+-\d+\.{self._kind.value}"
        )
        files = sorted(
            (file.stat().st_mtime, file.name, file.stat().st_size)
            for file in self._prefix.parent.iterdir()
            if pattern.fullmatch(file.name)
        )
        room = self._limits.max_total_bytes - self._limits.max_file_bytes
        taken = sum(size for _, _, size in files)
        for _, name, size in files:
            if taken <= room:
                return
            (self._prefix.parent / name).unlink(missing_ok=True)
            taken -= size
