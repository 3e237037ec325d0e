"""Logs: to stderr, one line per event, as text or as JSON.

What is logged becomes a line at once, and is written by the thread of `Output`; the lines of events
are made and written by the log process. Nobody who logs ever waits for whoever reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sigrun.telemetry.lines import (
    About,
    Event,
    Fields,
    LineMaker,
    LogFormat,
    Text,
    as_bytes,
    as_utf8,
)
from sigrun.telemetry.log_process import LogProcess
from sigrun.telemetry.metrics import Counter
from sigrun.telemetry.output import STDERR, STDOUT, Output
from sigrun.telemetry.request_id import REQUEST_ID

# What these say at lower levels is about their own insides.
_QUIET = {"tensorflow": logging.ERROR}
FIELDS = "sigrun_fields"
"""Under this name a record has what a line of JSON says beside the message."""

_FLUSH_WITHIN_S = 1.0  # at the end of the process

logger = logging.getLogger(__name__)


def configure_logs(
    log_format: LogFormat, level: int = logging.INFO, worker: int | None = None
) -> None:
    """Send every log record of the process to stderr in `log_format`.

    `worker` is the number of this process where several are one server.
    """
    handler = _Handler(_Form(log_format, worker))
    # No line shows these, and to find them out for each costs as much as to write it.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


def words() -> Sequence[str]:
    """Return what `configure_by` takes in another process, to log as this one does."""
    forms = [one.form for one in logging.root.handlers if isinstance(one, _Handler)]
    log_format, worker = forms[0] if forms else _Form(LogFormat.TEXT, None)
    return log_format.value, str(logging.root.level), "" if worker is None else str(worker)


def configure_by(words: Sequence[str]) -> None:
    """Log as another process does, by its `words`."""
    log_format, level, worker = words
    configure_logs(LogFormat(log_format), int(level), int(worker) if worker else None)


def show(text: str) -> None:
    """Write text to stdout, in order with the lines of the log."""
    _OUTPUT.put(STDOUT, as_bytes(text + "\n"))


def flush() -> None:
    """Wait, for two seconds at most, until what was logged is written."""
    _LOG_PROCESS.flush(_FLUSH_WITHIN_S)
    _OUTPUT.flush(_FLUSH_WITHIN_S)


def readings() -> Iterable[Counter]:
    """Return what can be counted of the log."""
    yield Counter(
        name="sigrun_log_lines_dropped",
        help="Lines of the log that were dropped because nobody read those before them.",
        value=_OUTPUT.dropped + _LOG_PROCESS.dropped,
    )


def _tell_drops(dropped: int) -> None:
    logger.warning("%d lines of the log were dropped so far, as nobody read it", dropped)


# One of each for the process, as the descriptors are.
_OUTPUT = Output(on_drop=_tell_drops)
_LOG_PROCESS = LogProcess(on_drop=_tell_drops)


def log_events(
    to: logging.Logger,
    events: Sequence[Event[About]],
    text: Text[About],
    fields: Fields[About],
) -> None:
    """Log `events` at INFO: their `text`, and the `fields` that a line of JSON has beside it.

    A `LogRecord` and its way through `logging` cost several times what a line does. So none is
    made where nobody but this module's own handler would see it: a process of its own makes the
    lines. Hence events can be pickled, quickly if they are plain values, and both functions are
    those of modules.
    """
    if not events or not to.isEnabledFor(logging.INFO):
        return
    handlers = logging.root.handlers
    if len(handlers) == 1 and type(handler := handlers[0]) is _Handler:
        _LOG_PROCESS.put(LineMaker(*handler.form, "INFO", to.name, text, fields), events)
        return
    for created, id, about in events:
        record = logging.LogRecord(to.name, logging.INFO, __file__, 0, text(about), None, None)
        record.created = created
        setattr(record, FIELDS, fields(about))
        token = REQUEST_ID.set(id)
        to.handle(record)
        REQUEST_ID.reset(token)


class _Form(NamedTuple):
    """What all lines of the process have in common."""

    log_format: LogFormat
    worker: int | None


class _Handler(logging.Handler):
    """Hands lines to the process's output, in their order."""

    def __init__(self, form: _Form) -> None:
        super().__init__()
        self.form = form
        self.setFormatter(_Formatter(form))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _OUTPUT.put(STDERR, as_bytes(self.format(record) + "\n"))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        flush()


class _Formatter(logging.Formatter):
    """Makes a line of a record. A traceback follows on lines of text, and is a field of JSON."""

    def __init__(self, form: _Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        text, fields = logging.LogRecord.getMessage, getattr(record, FIELDS, {})
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        if traceback:
            fields = {**fields, "exception": as_utf8(traceback)}
        level, name = record.levelname, record.name
        maker = LineMaker(*self._form, level, name, text, lambda _: fields)
        (line,) = maker.lines([(record.created, REQUEST_ID.get(), record)])
        if traceback and self._form.log_format is LogFormat.TEXT:
            line += "\n" + traceback
        return line
