"""Other processes: a fresh Python, and buf."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (REPOSITORY / "server", REPOSITORY / "clients" / "python")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python of this environment in which the server and the client can be imported."""
    path = os.pathsep.join(str(package) for package in PACKAGES)
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return run(sys.executable, *arguments, environment=environment)


def run_buf(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the buf of this environment at the root of the repository."""
    beside_python = Path(sys.executable).parent
    program = shutil.which("buf", path=str(beside_python)) or shutil.which("buf")
    assert program is not None, "buf is missing; install the development dependencies"
    return run(program, *arguments, environment=dict(os.environ))


def run(*command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
