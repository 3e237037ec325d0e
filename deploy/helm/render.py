"""Render the chart without a cluster: `python deploy/helm/render.py VALUES.yaml... > all.yaml`.

For whoever has no Helm: it comes with `helm-python-sdk`, a development dependency. `--release` and
`--namespace` are those of `helm template`. A file's values go over those of the files before it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).resolve().parent / "sigrun"


def main() -> int:
    """Print the manifests; return 1 when the values are refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("values", nargs="*", type=Path, metavar="VALUES.yaml")
    parser.add_argument("--release", default="sigrun", metavar="NAME")
    parser.add_argument("--namespace", default="default", metavar="NAME")
    options = parser.parse_args()
    values: dict[str, Any] = {}
    for path in options.values:
        values = merged(values, yaml.safe_load(path.read_text()) or {})
    try:
        manifests = render(values, release=options.release, namespace=options.namespace)
    except helm_python.HelmError as error:
        print(f"{', '.join(map(str, options.values)) or 'the defaults'}: {error}", file=sys.stderr)
        return 1
    print(as_text(manifests), end="")
    return 0


def render(
    values: dict[str, Any], *, release: str = "sigrun", namespace: str = "default"
) -> list[str]:
    """Return the manifests, a document each. Raises `helm_python.HelmError`."""
    with helm_python.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=release, namespace=namespace)
    documents = []
    for name, text in sorted(files.items()):
        if name.endswith(".yaml"):
            documents += [one.strip() for one in f"\n{text}".split("\n---\n") if one.strip()]
    return documents


def as_text(documents: Sequence[str]) -> str:
    """Return documents as one stream of YAML."""
    return "".join(f"---\n{one}\n" for one in documents)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` with the values of `above` over it, as Helm merges values files."""
    result = dict(below)
    for key, value in above.items():
        both_are_maps = isinstance(value, dict) and isinstance(below.get(key), dict)
        result[key] = merged(below[key], value) if both_are_maps else value
    return result


if __name__ == "__main__":
    sys.exit(main())
