"""Install the client into an empty environment; print how long that takes and how large it is.

    python clients/python/benchmarks/installation.py [FOLDER]

FOLDER receives the environment and keeps it; otherwise it is a temporary one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
PIP_ITSELF = ("pip", "pip-", "setuptools", "pkg_resources", "_distutils_hack", "distutils-")


def main() -> None:
    """Install and print."""
    if len(sys.argv) > 1:
        install(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            install(Path(folder))


def install(folder: Path) -> None:
    """Make an environment in `folder`, install into it, print sizes and `pip list`."""
    venv.create(folder / "environment", with_pip=True)
    python = folder / "environment" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wheels = folder / "wheels"
    begin = time.perf_counter()
    pip(python, "wheel", "--quiet", "--wheel-dir", str(wheels), str(PACKAGE))
    downloaded_s = time.perf_counter() - begin
    pip(python, "install", "--quiet", "--no-index", "--find-links", str(wheels), "sigrun-client")
    print(f"downloaded: {megabytes(list(wheels.iterdir())):.1f} MB, in {downloaded_s:.1f} s")
    (packages,) = (folder / "environment").glob("**/site-packages")
    installed = [path for path in packages.iterdir() if not path.name.startswith(PIP_ITSELF)]
    print(f"installed: {megabytes(installed):.1f} MB")
    for path in sorted(installed, key=lambda path: -megabytes([path]))[:5]:
        print(f"  {path.name:<24}{megabytes([path]):8.1f} MB")
    pip(python, "list")


def pip(python: Path, *arguments: str) -> None:
    """Run pip in the environment."""
    sys.stdout.flush()
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def megabytes(paths: list[Path]) -> float:
    """Return the size of files and folders."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
