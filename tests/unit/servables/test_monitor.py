from __future__ import annotations

from sigrun.errors import InvalidArgument, SigrunError
from sigrun.servables.monitor import MAX_ENDED, ServableStateMonitor
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State


def monitor(*changes: tuple[str, int, State, SigrunError | None]) -> ServableStateMonitor:
    result = ServableStateMonitor()
    for name, version, state, error in changes:
        result.update(ServableState(ServableId(name, version), state, error))
    return result


def test_the_last_state_of_a_version_is_known() -> None:
    known = monitor(("mnist", 1, State.START, None), ("mnist", 1, State.LOADING, None))

    assert known.state(ServableId("mnist", 1)) == ServableState(
        ServableId("mnist", 1), State.LOADING
    )


def test_nothing_is_known_of_what_was_never_heard_of() -> None:
    known = monitor(("mnist", 1, State.AVAILABLE, None))

    assert known.state(ServableId("mnist", 2)) is None
    assert known.states("iris") == {}
    assert not known.is_available("iris")
    assert not known.has_failed(ServableId("iris", 1))


def test_versions_are_listed_highest_first() -> None:
    known = monitor(*(("mnist", version, State.AVAILABLE, None) for version in (2, 10, 1)))

    assert list(known.states("mnist")) == [10, 2, 1]


def test_models_are_listed_by_name_those_that_have_left_included() -> None:
    known = monitor(("mnist", 1, State.END, None), ("iris", 1, State.START, None))

    assert known.models() == ["iris", "mnist"]


def test_a_version_that_ended_stays_known_with_its_error() -> None:
    error = InvalidArgument("no graph")

    known = monitor(("mnist", 1, State.END, error))

    assert known.states("mnist")[1].error is error


def test_failing_is_to_end_with_an_error() -> None:
    known = monitor(
        ("mnist", 1, State.END, InvalidArgument("no graph")),
        ("mnist", 2, State.END, None),
        ("mnist", 3, State.AVAILABLE, None),
    )

    assert [known.has_failed(ServableId("mnist", version)) for version in (1, 2, 3)] == [
        True,
        False,
        False,
    ]


def test_only_the_state_available_makes_a_version_available() -> None:
    known = monitor(*(("mnist", state.value, state, None) for state in State))

    available = {state for state in State if known.is_available("mnist", state.value)}

    assert available == {State.AVAILABLE}


def test_a_model_is_available_when_one_of_its_versions_is() -> None:
    known = monitor(
        ("mnist", 1, State.AVAILABLE, None),
        ("mnist", 2, State.LOADING, None),
        ("iris", 1, State.UNLOADING, None),
    )

    assert known.is_available("mnist")
    assert not known.is_available("iris")


def test_of_the_versions_that_ended_only_the_newest_are_kept() -> None:
    known = monitor(*(("mnist", version, State.END, None) for version in range(MAX_ENDED + 2)))

    assert sorted(known.states("mnist")) == list(range(2, MAX_ENDED + 2))


def test_old_versions_that_are_still_there_are_never_forgotten() -> None:
    known = monitor(
        ("mnist", 0, State.AVAILABLE, None),
        *(("mnist", version, State.END, None) for version in range(1, MAX_ENDED + 2)),
    )

    assert known.is_available("mnist", 0)
