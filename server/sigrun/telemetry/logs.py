"""Logs: to stderr, one line per event, as text or as JSON."""

from __future__ import annotations

import datetime
import enum
import logging
import sys

import orjson

from sigrun.telemetry.request_id import REQUEST_ID

# What these say at lower levels is about their own insides.
_QUIET = {"tensorflow": logging.ERROR}


class LogFormat(enum.Enum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


def configure_logs(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send every log record of the process to stderr in `log_format`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format is LogFormat.JSON else _TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _TextFormatter(logging.Formatter):
    """`2026-01-01T12:00:00.000Z INFO sigrun.server: text`; a traceback follows on its lines.

    What is said in the course of a request ends in `[request ID]`.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_timestamp(record)} {record.levelname} {record.name}: {record.getMessage()}"
        if request_id := REQUEST_ID.get():
            text += f" [request {request_id}]"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message; request id and exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _as_utf8(record.getMessage()),
        }
        if request_id := REQUEST_ID.get():
            entry["request_id"] = request_id
        if record.exc_info:
            entry["exception"] = _as_utf8(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()


def _as_utf8(text: str) -> str:
    """Escape what UTF-8 cannot hold, such as the bytes of a file name in another encoding."""
    return text.encode(errors="backslashreplace").decode()
