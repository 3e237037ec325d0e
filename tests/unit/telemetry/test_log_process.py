from __future__ import annotations

import json

import pytest

from sigrun.telemetry.lines import LineMaker, LogFormat
from sigrun.telemetry.log_process import LogProcess

MAKER = LineMaker(LogFormat.TEXT, None, "INFO", "sigrun.test", str, json.loads)


def test_events_become_lines_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    process = LogProcess()

    for texts in (["first", "second"], ["third"]):
        process.put(MAKER, [(0.0, "", text) for text in texts])
    process.flush(10)

    lines = capfd.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["first", "second", "third"]
