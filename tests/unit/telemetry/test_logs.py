from __future__ import annotations

import contextvars
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sigrun.telemetry import request_id
from sigrun.telemetry.lines import LogFormat
from sigrun.telemetry.logs import (
    FIELDS,
    configure_by,
    configure_logs,
    flush,
    log_events,
    words,
)

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


def test_a_file_name_that_is_not_utf8_is_escaped_in_text(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs(LogFormat.TEXT)

    logger.info("found %s", b"model-\xff".decode(errors="surrogateescape"))

    assert written(capfd).err.endswith(": found model-\\udcff\n")


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
EVENT = (AT, "id-7", '{"door":"grpc"}')


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        (
            LogFormat.TEXT,
            (
                "2026-01-01T00:00:00.250Z INFO sigrun.test [worker 2]: "
                '{"door":"grpc"} [request id-7]\n'
            ),
        ),
        (
            LogFormat.JSON,
            (
                '{"time":"2026-01-01T00:00:00.250Z","level":"INFO","logger":"sigrun.test",'
                '"message":"{\\"door\\":\\"grpc\\"}","worker":2,"request_id":"id-7","door":"grpc"}\n'
            ),
        ),
    ],
)
def test_an_event_is_a_line_as_a_record_is(
    log_format: LogFormat, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs(log_format, worker=2)

    log_events(logger, [EVENT], str, json.loads)

    deadline = time.monotonic() + 10
    while not (said := written(capfd).err):  # the log process may take its time to begin
        assert time.monotonic() < deadline
    assert said == line


def test_events_below_the_level_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.TEXT, logging.WARNING)

    log_events(logger, [EVENT], str, json.loads)

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

    log_events(logger, [EVENT], str, json.loads)

    assert [(record.getMessage(), record.created) for record in records] == [(EVENT[2], AT)]
    assert getattr(records[0], FIELDS) == {"door": "grpc"}
    assert written(capfd).err == (
        '2026-01-01T00:00:00.250Z INFO sigrun.test: {"door":"grpc"} [request id-7]\n'
    )
    assert request_id.REQUEST_ID.get() == ""


@pytest.mark.parametrize("worker", [None, 3])
def test_another_process_logs_in_the_same_way(
    worker: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs(LogFormat.JSON, logging.WARNING, worker)

    configure_by(words())
    logger.info("not told")
    logger.warning("told")

    line = json.loads(written(capfd).err)
    assert (line["message"], line.get("worker")) == ("told", worker)
