from __future__ import annotations

import json

import pytest

from sigrun.telemetry.lines import Event, LineMaker, LogFormat

AT = 1767225600.25


def fields(event: str) -> dict[str, object]:
    return {"door": "grpc"}


def maker(log_format: LogFormat = LogFormat.TEXT, worker: int | None = None) -> LineMaker[str]:
    return LineMaker(log_format, worker, "INFO", "sigrun.test", str, fields)


@pytest.mark.parametrize(
    ("worker", "id", "line"),
    [
        (None, "", "INFO sigrun.test: asked"),
        (2, "", "INFO sigrun.test [worker 2]: asked"),
        (None, "id-7", "INFO sigrun.test: asked [request id-7]"),
    ],
)
def test_an_event_is_a_line_of_text(worker: int | None, id: str, line: str) -> None:
    lines = maker(worker=worker).lines([(AT, id, "asked")])

    assert lines == [f"2026-01-01T00:00:00.250Z {line}"]


@pytest.mark.parametrize(
    ("worker", "id", "more"),
    [(None, "", {}), (2, "", {"worker": 2}), (None, "id-7", {"request_id": "id-7"})],
)
def test_an_event_is_an_object_of_json(
    worker: int | None, id: str, more: dict[str, object]
) -> None:
    (line,) = maker(LogFormat.JSON, worker).lines([(AT, id, "asked")])

    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "sigrun.test",
        "message": "asked",
        "door": "grpc",
        **more,
    }


def test_lines_are_in_the_order_of_their_events() -> None:
    lines = maker().lines([(AT + number, "", f"{number}") for number in range(3)])

    assert lines == [
        f"2026-01-01T00:00:0{number}.250Z INFO sigrun.test: {number}" for number in range(3)
    ]


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_an_event_that_cannot_be_told_is_said_and_harms_no_other(log_format: LogFormat) -> None:
    def breaks(event: str) -> str:
        return str(1 / 0) if event == "broken" else event

    events: list[Event[str]] = [(AT, "id-7", text) for text in ("first", "broken", "last")]
    breaking = LineMaker(log_format, 2, "INFO", "sigrun.test", breaks, fields)

    first, said, last = breaking.safe_lines(events)

    assert [first] == maker(log_format, 2).lines(events[:1])
    assert [last] == maker(log_format, 2).lines(events[2:])
    for part in ("ERROR", "sigrun.test", "'broken' cannot be told", "ZeroDivisionError", "id-7"):
        assert part in said
