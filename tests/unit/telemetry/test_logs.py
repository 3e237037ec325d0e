from __future__ import annotations

import contextvars
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from sigrun.telemetry import request_id
from sigrun.telemetry.logs import FIELDS, LogFormat, configure_logs, flush, log_events

logger = logging.getLogger("sigrun.test")


def written(capfd: pytest.CaptureFixture[str]) -> Any:
    flush()
    return capfd.readouterr()


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # `configure_logs` closes the handlers it replaces, and pytest's are still needed.
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_of_text_has_time_level_logger_and_message(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1767225600.25)
    monkeypatch.setattr("time.time_ns", lambda: 1767225600_250_000_000)
    configure_logs(LogFormat.TEXT)

    logger.warning("%s is %d", "mnist:1", 7)

    assert written(capfd) == (
        "",
        "2026-01-01T00:00:00.250Z WARNING sigrun.test: mnist:1 is 7\n",
    )


def test_a_json_line_is_one_object(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1767225600.25)
    monkeypatch.setattr("time.time_ns", lambda: 1767225600_250_000_000)
    configure_logs(LogFormat.JSON)

    logger.info('two\nlines, "quoted" äöü')

    assert json.loads(written(capfd).err) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "sigrun.test",
        "message": 'two\nlines, "quoted" äöü',
    }


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_every_event_is_one_line(log_format: LogFormat, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(log_format)

    logger.info("first")
    logger.info("second")

    assert len(written(capfd).err.splitlines()) == 2


def test_a_traceback_follows_the_text(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.TEXT)

    try:
        raise ValueError("a bug")
    except ValueError:
        logger.exception("it failed")

    first, second, *_, last = written(capfd).err.splitlines()
    assert first.endswith("ERROR sigrun.test: it failed")
    assert (second, last) == ("Traceback (most recent call last):", "ValueError: a bug")


def test_a_traceback_is_a_field_of_the_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.JSON)

    try:
        raise ValueError("a bug")
    except ValueError:
        logger.exception("it failed")

    (line,) = written(capfd).err.splitlines()
    assert json.loads(line)["exception"].splitlines()[-1] == "ValueError: a bug"


def test_a_file_name_that_is_not_utf8_is_escaped_in_json(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs(LogFormat.JSON)

    logger.info("found %s", b"model-\xff".decode(errors="surrogateescape"))

    assert json.loads(written(capfd).err)["message"] == r"found model-\udcff"


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_what_is_below_the_level_is_left_out(
    log_format: LogFormat, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs(log_format, logging.WARNING)

    logger.info("chatter")

    assert written(capfd).err == ""


def test_configuring_again_replaces_the_format(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.TEXT)
    configure_logs(LogFormat.JSON)

    logger.info("once")

    (line,) = written(capfd).err.splitlines()
    assert json.loads(line)["message"] == "once"


@pytest.mark.parametrize(
    ("log_format", "shows"),
    [
        (LogFormat.TEXT, "a text [request of-the-caller]\n"),
        (LogFormat.JSON, '"request_id":"of-the-caller"}\n'),
    ],
)
def test_a_line_of_a_request_has_its_id(
    capfd: pytest.CaptureFixture[str], log_format: LogFormat, shows: str
) -> None:
    configure_logs(log_format)

    def answer() -> None:
        request_id.begin("of-the-caller")
        logging.getLogger("sigrun").warning("a text")

    contextvars.copy_context().run(answer)

    assert written(capfd).err.endswith(shows)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-1.2_3/4", "abc-1.2_3/4"),
        ("a b\r\nc\x00d\x7fé", "abcd"),
        ("x" * 1000, "x" * 128),
    ],
)
def test_of_an_id_that_is_given_what_is_safe_is_kept(given: str, kept: str) -> None:
    assert contextvars.copy_context().run(request_id.begin, given) == kept


@pytest.mark.parametrize("given", ["", " ", "\n"])
def test_without_an_id_one_is_made(given: str) -> None:
    made = [contextvars.copy_context().run(request_id.begin, given) for _ in range(2)]

    assert all(made)
    assert made[0] != made[1]


AT = 1767225600.25


def text(event: str) -> str:
    return event


def fields(event: str) -> dict[str, object]:
    return {"door": "grpc"}


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        (LogFormat.TEXT, "2026-01-01T00:00:00.250Z INFO sigrun.test [worker 2]: asked\n"),
        (
            LogFormat.JSON,
            (
                '{"time":"2026-01-01T00:00:00.250Z","level":"INFO","logger":"sigrun.test",'
                '"message":"asked","worker":2,"door":"grpc"}\n'
            ),
        ),
    ],
)
def test_an_event_is_a_line_as_a_record_is(
    log_format: LogFormat, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs(log_format, worker=2)

    log_events(logger, [(AT, "", "asked")], text, fields)

    assert written(capfd).err == line


@pytest.mark.parametrize(
    ("log_format", "shows"),
    [
        (LogFormat.TEXT, "asked [request id-7]\n"),
        (LogFormat.JSON, '"request_id":"id-7","door":"grpc"}\n'),
    ],
)
def test_an_event_has_the_id_of_its_request(
    capfd: pytest.CaptureFixture[str], log_format: LogFormat, shows: str
) -> None:
    configure_logs(log_format)

    log_events(logger, [(AT, "id-7", "asked")], text, fields)

    assert written(capfd).err.endswith(shows)


def test_events_are_told_in_their_order_and_in_one_piece(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs(LogFormat.TEXT)
    put: list[tuple[str, int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "sigrun.telemetry.logs._OUTPUT.put", lambda _, text, lines: put.append((text, lines))
        )

        log_events(logger, [(AT + number, "", f"{number}") for number in range(3)], text, fields)

    ((told, lines),) = put
    assert lines == 3
    assert told.splitlines() == [
        f"2026-01-01T00:00:0{number}.250Z INFO sigrun.test: {number}" for number in range(3)
    ]


def test_an_event_that_cannot_be_told_is_said_and_harms_nobody(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def breaks(event: str) -> str:
        return str(1 / 0) if event == "broken" else event

    configure_logs(LogFormat.TEXT)

    log_events(logger, [(AT, "", "broken"), (AT, "", "asked")], breaks, fields)

    said = written(capfd).err
    assert "ZeroDivisionError: division by zero" in said
    assert "str that could not be told" in said
    assert said.endswith("INFO sigrun.test: asked\n")


def test_events_below_the_level_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.TEXT, logging.WARNING)

    log_events(logger, [(AT, "", "asked")], text, fields)

    assert written(capfd).err == ""


def test_another_handler_beside_ours_gets_events_as_records(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs(LogFormat.TEXT)
    records: list[logging.LogRecord] = []
    other = logging.Handler()
    monkey: Any = other
    monkey.emit = records.append
    logging.root.addHandler(other)

    log_events(logger, [(AT, "id-7", "asked")], text, fields)

    assert [(record.getMessage(), record.created) for record in records] == [("asked", AT)]
    assert getattr(records[0], FIELDS) == {"door": "grpc"}
    assert written(capfd).err == (
        "2026-01-01T00:00:00.250Z INFO sigrun.test: asked [request id-7]\n"
    )
    assert request_id.REQUEST_ID.get() == ""
