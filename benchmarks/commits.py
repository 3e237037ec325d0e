"""Another commit of this repository, installed beside this one, to be compared with.

In: a revision. Out: its `sigrun`, in an environment of its own with the versions that its lock
file names, below `build/commits`. It is made once and kept; `uv` takes packages from its cache.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import paths
from benchmarks.processes import NotThere

_TIMEOUT_S = 900


@dataclass(frozen=True, slots=True)
class Commit:
    """An installed commit: its short hash, and the program."""

    name: str
    sigrun: Path


def install(revision: str) -> Commit:
    """Return the commit, installed now if need be. Raises `NotThere` if that fails."""
    sha = _git("rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()
    folder = paths.COMMITS / sha
    program = folder / ".venv" / "bin" / "sigrun"
    if not program.exists():
        print(f"installing {revision} into {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _extract(sha, folder)
        _run([_uv(), "sync", "--locked", "--no-dev", "--python", sys.executable], folder)
    return Commit(sha[:7], program)


def _extract(sha: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(_git("archive", sha))) as archive:
        archive.extractall(folder, filter="data")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise NotThere("another commit cannot be installed without uv, which `make setup` brings")
    return found


def _git(*words: str) -> bytes:
    return _run(["git", *words], paths.ROOT)


def _run(command: list[str], folder: Path) -> bytes:
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip().splitlines() or ["?"]
        raise NotThere(f"{' '.join(command[:2])}: {complaint[-1]}")
    return done.stdout
