"""The version stands in one place, and everywhere else as a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from release import version
from release.version import Place, VersionError


@pytest.mark.parametrize("place", version.PLACES, ids=lambda place: place.file)
def test_a_copy_of_the_version_is_up_to_date(place: Place) -> None:
    assert not version.bring_up_to_date(place, version.wanted(version.REPOSITORY), write=False)


def test_the_changelog_has_a_dated_section_for_the_version() -> None:
    assert version.is_in_changelog(version.wanted(version.REPOSITORY))
    assert not version.is_in_changelog("999.0.0")


def test_a_new_version_is_written_once_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nversion = "1.2.3"\ndependencies = ["x==1.2.3"]\n')
    place = Place("pyproject.toml", r'^version = "')

    assert version.bring_up_to_date(place, "2.0.0rc1", write=True)

    assert file.read_text() == '[project]\nversion = "2.0.0rc1"\ndependencies = ["x==1.2.3"]\n'
    assert not version.bring_up_to_date(place, "2.0.0rc1", write=True)


def test_a_place_without_a_version_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "REPOSITORY", tmp_path)
    (tmp_path / "Chart.yaml").write_text("version: 1.0.0\n")

    with pytest.raises(VersionError, match=r"expected 2 versions .* found 1"):
        version.bring_up_to_date(
            Place("Chart.yaml", r"^(?:version|appVersion): ", 2), "1.0.0", write=True
        )
