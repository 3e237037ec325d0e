from __future__ import annotations

import logging

import pytest

from sigrun.telemetry.notices import Notice

logger = logging.getLogger(__name__)


def test_a_notice_is_given_once_in_an_interval_with_how_many_were_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter([0.0, 1.0, 9.0, 10.0, 20.0])
    notice = Notice(logger, "no room: %s", clock=lambda: next(times), interval_s=10.0)

    for value in ("first", "second", "third", "fourth", "fifth"):
        notice.give(value)

    assert caplog.messages == [
        "no room: first",
        "no room: fourth (2 more since this was last said)",
        "no room: fifth",
    ]
    assert notice.count == 5
