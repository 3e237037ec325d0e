from __future__ import annotations

import pytest

from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State, StateStream

AVAILABLE = ServableState(ServableId("mnist", 1), State.AVAILABLE)


def test_listeners_hear_of_a_change_in_the_order_in_which_they_subscribed() -> None:
    stream = StateStream()
    heard: list[tuple[str, ServableState]] = []
    stream.subscribe(lambda state: heard.append(("first", state)))
    stream.subscribe(lambda state: heard.append(("second", state)))

    stream.publish(AVAILABLE)

    assert heard == [("first", AVAILABLE), ("second", AVAILABLE)]


def test_a_listener_that_fails_keeps_nobody_else_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = StateStream()
    heard: list[ServableState] = []

    def fail(_: ServableState) -> None:
        raise ValueError("a bug")

    stream.subscribe(fail)
    stream.subscribe(heard.append)

    stream.publish(AVAILABLE)

    assert heard == [AVAILABLE]
    assert "a listener failed" in caplog.text


def test_a_servable_id_is_written_as_name_and_version() -> None:
    assert str(ServableId("mnist", 3)) == "mnist:3"
