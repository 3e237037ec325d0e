"""Logs: to stderr, one line per event, as text or as JSON.

What is logged becomes a line at once, and what is logged for every request a row of lines soon
after; both are written by the thread of `Output`: nobody who logs ever waits for whoever reads.
"""

from __future__ import annotations

import asyncio
import datetime
import enum
import functools
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import orjson

from sigrun.telemetry.metrics import Counter
from sigrun.telemetry.output import STDERR, STDOUT, Output
from sigrun.telemetry.request_id import REQUEST_ID

# What these say at lower levels is about their own insides.
_QUIET = {"tensorflow": logging.ERROR}
FIELDS = "sigrun_fields"
"""Under this name a record has what a line of JSON says beside the message."""

_FLUSH_WITHIN_S = 1.0  # at the end of the process

# Of events: a row of them takes some hundred microseconds, and nobody waits long for a line.
_ROW = 64
_ROW_WITHIN_S = 0.02

logger = logging.getLogger(__name__)


class LogFormat(enum.Enum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


def configure_logs(
    log_format: LogFormat, level: int = logging.INFO, worker: int | None = None
) -> None:
    """Send every log record of the process to stderr in `log_format`.

    `worker` is the number of this process where several are one server.
    """
    is_json = log_format is LogFormat.JSON
    handler = _Handler(_JsonFormatter(worker) if is_json else _TextFormatter(worker))
    # No line shows these, and to find them out for each costs as much as to write it.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


def show(text: str) -> None:
    """Write text to stdout, in order with the lines of the log."""
    _OUTPUT.put(STDOUT, text + "\n")


def flush() -> None:
    """Wait, for a second at most, until what was logged is written."""
    for handler in logging.root.handlers:
        if isinstance(handler, _Handler):
            handler.write_all()
    _OUTPUT.flush(_FLUSH_WITHIN_S)


def readings() -> Iterable[Counter]:
    """Return what can be counted of the log."""
    yield Counter(
        name="sigrun_log_lines_dropped",
        help="Lines of the log that were dropped because nobody read those before them.",
        value=_OUTPUT.dropped,
    )


def _tell_drops(dropped: int) -> None:
    logger.warning("%d lines of the log were dropped so far, as nobody read it", dropped)


_OUTPUT = Output(on_drop=_tell_drops)  # one for the process, as the descriptors are


class Event(Protocol):
    """What is logged for every request: its text, and what a line of JSON says beside it."""

    def text(self) -> str:
        """Return the message."""

    def fields(self) -> dict[str, object]:
        """Return what a line of JSON has beside the message."""


def log_event(to: logging.Logger, event: Event) -> None:
    """Log `event` at INFO.

    A `LogRecord` and its way through `logging` cost several times what the line does. So none is
    made where nobody but this module's own handler would see it. Nor is the line made at once: see
    `_Handler`. The event must not change.
    """
    handlers = logging.root.handlers
    if len(handlers) == 1 and type(handler := handlers[0]) is _Handler:
        events = handler.events
        events.append((time.time(), to, REQUEST_ID.get(), event))
        if len(events) >= _ROW or not handler.is_due:
            handler.write_soon()
    elif to.isEnabledFor(logging.INFO):
        record = logging.LogRecord(to.name, logging.INFO, __file__, 0, event.text(), None, None)
        setattr(record, FIELDS, event.fields())
        to.handle(record)


class _Handler(logging.Handler):
    """Hands lines to the process's output, in their order.

    Events wait for others, or some milliseconds, and are then told in a row. Between two requests
    a line takes several times as long: each finds the caches full of what serving needs, and
    leaves them full of what telling does.
    """

    def __init__(self, formatter: _TextFormatter | _JsonFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._line = formatter.line
        self.events: deque[tuple[float, logging.Logger, str, Event]] = deque()
        """Those that wait: when and by whom each was logged, and the id of its request."""
        self.is_due = False
        """Whether somebody will write them without being told."""

    def emit(self, record: logging.LogRecord) -> None:
        self.write_events()  # they came first
        try:
            _OUTPUT.put(STDERR, self.format(record) + "\n")
        except Exception:
            self.handleError(record)

    def write_soon(self) -> None:
        """Write what waits: at once if that is a row, or in some milliseconds."""
        if len(self.events) >= _ROW:
            self.write_events()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # without one nobody would come back to it
            self.write_events()
        else:
            self.is_due = True
            loop.call_later(_ROW_WITHIN_S, self.write_all)

    def write_all(self) -> None:
        """Write what waits, and count on no timer: it is over, or the event loop may be."""
        self.is_due = False
        self.write_events()

    def write_events(self) -> None:
        """Write the events that wait; may be called from any thread."""
        events, line, lines = self.events, self._line, []
        last, is_enabled = None, False
        while events:
            try:
                created, to, id, event = events.popleft()
            except IndexError:  # another thread has taken it meanwhile
                break
            if to is not last:
                last, is_enabled = to, to.isEnabledFor(logging.INFO)
            if not is_enabled:
                continue
            try:
                lines.append(line(created, "INFO", to.name, id, event))
            except Exception:  # of which the request knows nothing
                what = f"{type(event).__name__} that could not be told"
                record = logging.LogRecord(to.name, logging.INFO, __file__, 0, what, None, None)
                self.handleError(record)
        if lines:
            _OUTPUT.put(STDERR, "\n".join(lines) + "\n", lines=len(lines))

    def flush(self) -> None:
        flush()


@functools.lru_cache(maxsize=4)  # lines that come quickly share their milliseconds
def _to_the_millisecond(milliseconds: int) -> str:
    second, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(second)}.{rest:03}Z"


@functools.lru_cache(maxsize=4)
def _to_the_second(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


class _Message(NamedTuple):
    """What a record says, as an event."""

    record: logging.LogRecord

    def text(self) -> str:
        return self.record.getMessage()

    def fields(self) -> dict[str, object]:
        fields: dict[str, object] = getattr(self.record, FIELDS, {})
        return fields


class _TextFormatter(logging.Formatter):
    """`2026-01-01T12:00:00.000Z INFO sigrun.server: text`; a traceback follows on its lines.

    What a worker says has `[worker 1]` before the text. What is said in the course of a request
    ends in `[request ID]`.
    """

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = "" if worker is None else f" [worker {worker}]"

    def format(self, record: logging.LogRecord) -> str:
        head = record.created, record.levelname, record.name
        text = self.line(*head, REQUEST_ID.get(), _Message(record))
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text

    def line(self, created: float, level: str, name: str, request_id: str, event: Event) -> str:
        time = _to_the_millisecond(int(created * 1e3))
        of = f" [request {request_id}]" if request_id else ""
        return f"{time} {level} {name}{self._worker}: {event.text()}{of}"


class _JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message; worker, request id, exception if any.

    What a record has in `extra={FIELDS: {...}}` is in the object too.
    """

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker: dict[str, object] = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        head = record.created, record.levelname, record.name
        entry = self._entry(*head, REQUEST_ID.get(), _Message(record))
        if record.exc_info:
            entry["exception"] = _as_utf8(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()

    def line(self, created: float, level: str, name: str, request_id: str, event: Event) -> str:
        return orjson.dumps(self._entry(created, level, name, request_id, event)).decode()

    def _entry(
        self, created: float, level: str, name: str, request_id: str, event: Event
    ) -> dict[str, object]:
        id = {"request_id": request_id} if request_id else {}
        return {
            "time": _to_the_millisecond(int(created * 1e3)),
            "level": level,
            "logger": name,
            "message": _as_utf8(event.text()),
            **self._worker,
            **id,
            **event.fields(),
        }


def _as_utf8(text: str) -> str:
    """Escape what UTF-8 cannot hold, such as the bytes of a file name in another encoding."""
    return text.encode(errors="backslashreplace").decode()
