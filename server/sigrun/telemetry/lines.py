"""What the lines of the log look like: as text, or as JSON.

In: events. Out: a line for each. Pure, and light to import: the log process needs nothing else.
"""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson


class LogFormat(enum.Enum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


About = TypeVar("About")
Event = tuple[float, str, About]
"""What is logged: when, the id of the request in whose course, and what makes a line."""
Text = Callable[[About], str]
"""Returns the message of an event."""
Fields = Callable[[About], dict[str, object]]
"""Returns what a line of JSON has beside the message."""


@dataclass(frozen=True, slots=True)
class LineMaker(Generic[About]):
    """Makes the lines of events that have all of this in common.

    As text a line is `2026-01-01T12:00:00.000Z INFO sigrun.server: text`. What a worker says has
    `[worker 1]` before the text. What is said in the course of a request ends in `[request ID]`.

    As JSON it is an object: time, level, logger, message, `fields`; worker and request_id if any.
    """

    log_format: LogFormat
    worker: int | None
    level: str
    logger: str
    text: Text[About]
    fields: Fields[About]

    def lines(self, events: Sequence[Event[About]]) -> list[str]:
        """Return a line for each event. Raises what `text` and `fields` do."""
        if self.log_format is LogFormat.JSON:
            return [orjson.dumps(entry).decode() for entry in self._entries(events)]
        of = "" if self.worker is None else f" [worker {self.worker}]"
        begins, text, lines = f" {self.level} {self.logger}{of}: ", self.text, []
        for at, id, about in events:
            ends = f" [request {id}]" if id else ""
            lines.append(f"{_to_the_millisecond(int(at * 1e3))}{begins}{text(about)}{ends}")
        return lines

    def safe_lines(self, events: Sequence[Event[About]]) -> list[str]:
        """Return the same, with a line that says so for an event that cannot be told."""
        try:
            return self.lines(events)
        except Exception as error:  # of which no request knows, and none of the other lines
            if len(events) > 1:
                return [line for event in events for line in self.safe_lines([event])]
            said = f"{events[0][2]!r} cannot be told: {error!r}"
            maker = LineMaker(self.log_format, self.worker, "ERROR", self.logger, str, _nothing)
            return maker.lines([(*events[0][:2], said)])

    def _entries(self, events: Sequence[Event[About]]) -> Iterator[dict[str, object]]:
        worker = {} if self.worker is None else {"worker": self.worker}
        for at, id, about in events:
            yield {
                "time": _to_the_millisecond(int(at * 1e3)),
                "level": self.level,
                "logger": self.logger,
                "message": as_utf8(self.text(about)),
                **worker,
                **({"request_id": id} if id else {}),
                **self.fields(about),
            }


def _nothing(_: object) -> dict[str, object]:
    return {}


def as_bytes(text: str) -> bytes:
    """Encode, with what UTF-8 cannot hold escaped, such as file names in another encoding."""
    return text.encode(errors="backslashreplace")


def as_utf8(text: str) -> str:
    """Escape what UTF-8 cannot hold."""
    return as_bytes(text).decode()


@functools.lru_cache(maxsize=4)  # lines that come quickly share their milliseconds
def _to_the_millisecond(milliseconds: int) -> str:
    second, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(second)}.{rest:03}Z"


@functools.lru_cache(maxsize=4)
def _to_the_second(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
