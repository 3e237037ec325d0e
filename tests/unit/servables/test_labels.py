from __future__ import annotations

import pytest

from sigrun.errors import FailedPrecondition, InvalidArgument, Unavailable
from sigrun.servables.labels import LabelMap, VersionLabels

REFUSAL = (
    "Request to assign label to version {version} of model mnist, "
    "which is not currently available for inference"
)


def version_1_alone(name: str, version: int) -> bool:
    return (name, version) == ("mnist", 1)


def labels(now: LabelMap, *, allow_unavailable: bool = False) -> VersionLabels:
    result = VersionLabels(allow_unavailable=allow_unavailable)
    result.replace(now)
    return result


def test_a_label_stands_for_its_version_of_its_model() -> None:
    both = labels({"mnist": {"stable": 1, "canary": 2}, "iris": {"stable": 7}})

    assert both.resolve("mnist", "canary") == 2
    assert both.resolve("iris", "stable") == 7


@pytest.mark.parametrize("name", ["mnist", "iris"])
def test_an_unknown_label_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Unrecognized servable version label: canary$"):
        labels({"mnist": {"stable": 1}}).resolve(name, "canary")


def test_labels_cannot_be_resolved_before_there_are_any() -> None:
    with pytest.raises(Unavailable, match=r"^Model labels does not init yet.stable$"):
        VersionLabels().resolve("mnist", "stable")


def test_the_whole_map_is_replaced() -> None:
    both = labels({"mnist": {"stable": 1}, "iris": {"stable": 7}})

    both.replace({"mnist": {"canary": 2}})

    assert (both.of("mnist"), both.of("iris")) == ({"canary": 2}, {})


def test_what_the_caller_does_to_the_map_later_changes_nothing() -> None:
    given = {"stable": 1}
    result = labels({"mnist": given})

    given["stable"] = 2

    assert result.resolve("mnist", "stable") == 1


def test_a_label_may_be_put_on_an_available_version() -> None:
    VersionLabels().check({"mnist": {"stable": 1}}, version_1_alone)


@pytest.mark.parametrize("now", [{}, {"mnist": {"canary": 2}}, {"mnist": {"canary": 1}}])
def test_a_label_may_not_be_put_on_one_that_is_not_available(now: LabelMap) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        labels(now).check({"mnist": {"stable": 1, "canary": 2}}, version_1_alone)

    assert str(refused.value) == REFUSAL.format(version=2)


@pytest.mark.parametrize("now", [{}, {"mnist": {"canary": 2}}])
def test_where_allowed_a_label_that_does_not_move_may_be_on_one_that_is_not_available(
    now: LabelMap,
) -> None:
    labels(now, allow_unavailable=True).check({"mnist": {"canary": 2}}, version_1_alone)


def test_even_where_allowed_a_label_may_not_be_moved_to_one_that_is_not_available() -> None:
    with pytest.raises(FailedPrecondition) as refused:
        labels({"mnist": {"canary": 1}}, allow_unavailable=True).check(
            {"mnist": {"canary": 2}}, version_1_alone
        )

    assert str(refused.value) == REFUSAL.format(version=2)


def test_even_where_allowed_the_first_labels_may_be_on_ones_that_are_not_available() -> None:
    VersionLabels(allow_unavailable=True).check({"mnist": {"canary": 2}}, version_1_alone)


def test_a_refused_map_changes_nothing() -> None:
    result = labels({"mnist": {"stable": 1}})

    with pytest.raises(FailedPrecondition):
        result.check({"mnist": {"stable": 2}}, version_1_alone)

    assert result.resolve("mnist", "stable") == 1
