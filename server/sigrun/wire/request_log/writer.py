"""Write entries to the files of their logs, in a thread; what finds no room to wait is dropped.

In: entries, on the event loop, which never waits for a disk. Out: files, and numbers for metrics.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sigrun.config.request_log import LogKind, RequestLogging, RequestLogLimits
from sigrun.errors import Code, SigrunError
from sigrun.telemetry.metrics import Counter, Gauge, Reading, Untyped
from sigrun.wire.request_log import records
from sigrun.wire.request_log.files import LogFiles
from sigrun.wire.request_log.records import Entry

logger = logging.getLogger(__name__)

_LOOK_S = 1.0  # how often files are looked at for their age

_WRITTEN, _DROPPED, _FAILED = "written", "dropped", "failed"


class _Waiting(NamedTuple):
    entry: Entry
    logging: RequestLogging
    size: int


class RequestLogWriter:
    """Takes entries on one event loop; its thread starts with the first one."""

    def __init__(self, limits: RequestLogLimits, clock: Callable[[], float] = time.time) -> None:
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0  # with the one that is being written
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._files: dict[tuple[str, LogKind], LogFiles] = {}
        self._counts: Counts[tuple[str, str]] = Counts()
        self._last_failure = ""
        self._has_told_drops = False

    def put(self, entry: Entry, logging: RequestLogging) -> None:
        """Have `entry` written, or drop it if too much waits already."""
        size = records.size_bytes(entry)
        with self._changed:
            if self._is_closing or self._waiting_bytes + size > self._limits.max_waiting_bytes:
                self._drop(entry)
                return
            self._waiting.append(_Waiting(entry, logging, size))
            self._waiting_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="request log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _drop(self, entry: Entry) -> None:
        self._counts[entry.target.name, _DROPPED] += 1
        if not self._has_told_drops:
            self._has_told_drops = True
            logger.warning(
                "Records of the request log are dropped: %d bytes wait to be written, of %d; "
                "sigrun_request_log_records_total counts them. This is said once",
                self._waiting_bytes,
                self._limits.max_waiting_bytes,
            )

    def close(self, within_s: float) -> None:
        """Write what waits, for so long at most, and end the files."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(within_s)

    def readings(self) -> Iterable[Reading]:
        """Return what was counted, as metrics."""
        with self._changed:
            counts, waiting_bytes = dict(self._counts), self._waiting_bytes
        yield Gauge(
            name="sigrun_request_log_waiting_bytes",
            help="Records of the request log that wait to be written",
            value=waiting_bytes,
        )
        codes: Counts[tuple[str, str]] = Counts()
        for (model, outcome), count in sorted(counts.items()):
            code = Code.OK if outcome == _WRITTEN else Code.RESOURCE_EXHAUSTED
            codes[model, (Code.INTERNAL if outcome == _FAILED else code).name] += count
            yield Counter(
                name="sigrun_request_log_records",
                help="Records of the request log: written, dropped as too much waited, or failed",
                value=count,
                labels={"model": model, "outcome": outcome},
            )
        for (model, code_name), count in codes.items():
            yield Untyped(
                name=":tensorflow:serving:request_log_count",
                help="Requests logged, by model and outcome",
                value=count,
                labels={"model_name": model, "status_code": code_name},
            )

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            outcome = self._write(waiting)
            with self._changed:
                self._waiting_bytes -= waiting.size
                self._counts[waiting.entry.target.name, outcome] += 1
        for files in self._files.values():
            files.close()

    def _next(self) -> _Waiting | None:
        """Return the next entry, None at the end; look after the files while there is none."""
        while True:
            for files in self._files.values():
                files.close_if_old()
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing, _LOOK_S)
                if self._waiting:
                    return self._waiting.popleft()
                if self._is_closing:
                    return None

    def _write(self, waiting: _Waiting) -> str:
        key = waiting.logging.filename_prefix, waiting.logging.kind
        try:
            record = records.encode(waiting.entry, waiting.logging)
            files = self._files.get(key)
            if files is None:
                files = self._files[key] = LogFiles(
                    *key, self._limits, name=str(os.getpid()), clock=self._clock
                )
            files.write(record)
        except (OSError, SigrunError) as error:
            failure = f"{key[0]}: {error}"
        except Exception as error:  # one request that cannot be written is not the end of the log
            failure = f"{key[0]}: {type(error).__name__}: {error}"
        else:
            self._last_failure = ""
            return _WRITTEN
        if failure != self._last_failure:
            logger.error("A request could not be logged: %s", failure)
            self._last_failure = failure
        return _FAILED
