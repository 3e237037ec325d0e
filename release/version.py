"""Write the version in pyproject.toml wherever else it must stand, or check that it stands there.

Usage: python release/version.py [--check]
In: `version` of the repository's pyproject.toml, the one place where it is changed by hand.
Out: the packages, the chart, the image's tag; with --check, exit status 1 and what differs.
`make version` also brings the lock file and the rendered manifests up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
CHANGELOG = "CHANGELOG.md"
_VERSION = r"[0-9][0-9A-Za-z.+-]*"


class Place(NamedTuple):
    """Where the version stands: `times` in `file`, after `before`, a regular expression."""

    file: str
    before: str
    times: int = 1


PLACES = (
    Place("server/sigrun/__init__.py", r'^__version__ = "'),
    Place("clients/python/pyproject.toml", r'^version = "'),
    Place("clients/python/sigrun_client/_version.py", r'^__version__ = "'),
    Place("clients/js/package.json", r'^  "version": "'),
    # Of the package itself, which is named above it.
    Place("clients/js/package-lock.json", r'"name": "sigrun-client",\s+"version": "', 2),
    Place("deploy/helm/sigrun/Chart.yaml", r"^(?:version|appVersion): ", 2),
    Place("deploy/kserve/serving-runtime.yaml", r"^ +image: sigrun:"),
)


class VersionError(Exception):
    """A file has no version where there should be one."""


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    version = wanted(REPOSITORY)
    try:
        outdated = [
            place for place in PLACES if bring_up_to_date(place, version, write=not options.check)
        ]
    except VersionError as error:
        print(error, file=sys.stderr)
        return 1
    for place in outdated:
        print(f"{place.file}: {'is not' if options.check else 'is now'} {version}")
    if not is_in_changelog(version):
        print(f"{CHANGELOG} has no dated section for {version}", file=sys.stderr)
        return 1
    return 1 if options.check and outdated else 0


def wanted(repository: Path) -> str:
    """Return the version that pyproject.toml says."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    version: str = project["version"]
    return version


def bring_up_to_date(place: Place, version: str, *, write: bool) -> bool:
    """Return whether `place` has another version than this one; with `write`, it had.

    Raises:
        VersionError: it has none, or not as often as it should.

    """
    path = REPOSITORY / place.file
    text = path.read_text()
    new, count = substituted(text, place.before, version)
    if count != place.times:
        raise VersionError(
            f"{place.file}: expected {place.times} versions after /{place.before}/, found {count}"
        )
    if write and new != text:
        path.write_text(new)
    return new != text


def substituted(text: str, before: str, version: str) -> tuple[str, int]:
    """Return `text` with this version after each `before`, and how many there are."""
    pattern = re.compile(f"({before}){_VERSION}", re.MULTILINE)
    return pattern.subn(lambda match: match[1] + version, text)


def is_in_changelog(version: str) -> bool:
    """Say whether the changelog has a section with this version and a date."""
    text = (REPOSITORY / CHANGELOG).read_text()
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$"
    return re.search(heading, text, re.MULTILINE) is not None


if __name__ == "__main__":
    sys.exit(main())
