"""Logs: to stderr, one line per event, as text or as JSON.

What is logged becomes a line at once, and is written by the thread of `Output`: nobody who logs
ever waits for whoever reads.
"""

from __future__ import annotations

import datetime
import enum
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import orjson

from sigrun.telemetry.metrics import Counter
from sigrun.telemetry.output import STDERR, STDOUT, Output
from sigrun.telemetry.request_id import REQUEST_ID

# What these say at lower levels is about their own insides.
_QUIET = {"tensorflow": logging.ERROR}
FIELDS = "sigrun_fields"
"""Under this name a record has what a line of JSON says beside the message."""

_FLUSH_WITHIN_S = 1.0  # at the end of the process

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


About = TypeVar("About")
Event = tuple[float, str, About]
"""What is logged for a request: when, the id of the request, and what makes a line."""
Text = Callable[[About], str]
"""Returns the message of an event."""
Fields = Callable[[About], dict[str, object]]
"""Returns what a line of JSON has beside the message."""


def log_events(
    to: logging.Logger,
    events: Sequence[Event[About]],
    text: Text[About],
    fields: Fields[About],
) -> None:
    """Log `events` at INFO: their `text`, and the `fields` that a line of JSON has beside it.

    A `LogRecord` and its way through `logging` cost several times what a line does. So none is
    made where nobody but this module's own handler would see it.
    """
    if not to.isEnabledFor(logging.INFO):
        return
    handlers = logging.root.handlers
    if len(handlers) == 1 and type(handler := handlers[0]) is _Handler:
        handler.write(_Told("INFO", to.name, events, text, fields))
        return
    for created, id, about in events:
        record = logging.LogRecord(to.name, logging.INFO, __file__, 0, text(about), None, None)
        record.created = created
        setattr(record, FIELDS, fields(about))
        token = REQUEST_ID.set(id)
        to.handle(record)
        REQUEST_ID.reset(token)


class _Told(NamedTuple, Generic[About]):
    """Of what lines are made: events of one level and one logger."""

    level: str
    name: str
    events: Sequence[Event[About]]
    text: Text[About]
    fields: Fields[About]


def _told(record: logging.LogRecord) -> _Told[logging.LogRecord]:
    events = [(record.created, REQUEST_ID.get(), record)]
    return _Told(record.levelname, record.name, events, _message, _fields)


def _message(record: logging.LogRecord) -> str:
    return record.getMessage()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, FIELDS, {})
    return fields


class _Handler(logging.Handler):
    """Hands lines to the process's output, in their order."""

    def __init__(self, formatter: _TextFormatter | _JsonFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._lines = formatter.lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _OUTPUT.put(STDERR, self.format(record) + "\n")
        except Exception:
            self.handleError(record)

    def write(self, told: _Told[About]) -> None:
        """Write the lines of what is told in one piece."""
        try:
            lines = self._lines(told)
        except Exception:  # of which no request knows, and none of the other lines
            lines = []
            for one in told.events:
                try:
                    lines += self._lines(told._replace(events=[one]))
                except Exception:
                    what = f"{type(one[2]).__name__} that could not be told"
                    self.handleError(
                        logging.LogRecord(told.name, logging.INFO, __file__, 0, what, None, None)
                    )
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


class _TextFormatter(logging.Formatter):
    """`2026-01-01T12:00:00.000Z INFO sigrun.server: text`; a traceback follows on its lines.

    What a worker says has `[worker 1]` before the text. What is said in the course of a request
    ends in `[request ID]`.
    """

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = "" if worker is None else f" [worker {worker}]"

    def format(self, record: logging.LogRecord) -> str:
        (line,) = self.lines(_told(record))
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def lines(self, told: _Told[About]) -> list[str]:
        level, name, events, text, _ = told
        begins, lines = f" {level} {name}{self._worker}: ", []
        for created, id, about in events:
            time = _to_the_millisecond(int(created * 1e3))
            of = f" [request {id}]" if id else ""
            lines.append(f"{time}{begins}{text(about)}{of}")
        return lines


class _JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message; worker, request id, exception if any.

    What a record has in `extra={FIELDS: {...}}` is in the object too.
    """

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker: dict[str, object] = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        (entry,) = self._entries(_told(record))
        if record.exc_info:
            entry["exception"] = _as_utf8(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()

    def lines(self, told: _Told[About]) -> list[str]:
        return [orjson.dumps(entry).decode() for entry in self._entries(told)]

    def _entries(self, told: _Told[About]) -> Iterator[dict[str, object]]:
        level, name, events, text, fields = told
        for created, id, about in events:
            yield {
                "time": _to_the_millisecond(int(created * 1e3)),
                "level": level,
                "logger": name,
                "message": _as_utf8(text(about)),
                **self._worker,
                **({"request_id": id} if id else {}),
                **fields(about),
            }


def _as_utf8(text: str) -> str:
    """Escape what UTF-8 cannot hold, such as the bytes of a file name in another encoding."""
    return text.encode(errors="backslashreplace").decode()
