"""Run the benchmarks: `python benchmarks/run.py`, from anywhere; `cli` has the rest."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    runpy.run_module("benchmarks.cli", run_name="__main__")
