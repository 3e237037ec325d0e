"""Measure sigrun against a floor, against the servers one would otherwise write, and itself.

Usage: python benchmarks/run.py [--quick] [--case NAME ...] [--rounds N] [--starts N] [--save]
       [--against-cpp] [--against HOST:PORT] [--against-batching HOST:PORT] [--against-commit REV]
`--list` shows the names. README.md, next to this file, says what each case means.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

from benchmarks import commits, cpp, paths, report, senders
from benchmarks.against import commit_cases, cpp_peer, peer_cases, running_peer
from benchmarks.bench import Bench
from benchmarks.cases import Case, make_cases
from benchmarks.compare import OVERVIEW_MODELS, Comparison, OverviewRow, compare, overview
from benchmarks.models import missing_models, write_config
from benchmarks.processes import SIGRUN, NotThere, ServerPool

OVERVIEW = "overview"
_BUILD_TIMEOUT_S = 600
_USAGE_ERROR = 2
_ROUNDS, _SECONDS, _WARM_UP_S = 5, 2.5, 0.5
_QUICK_ROUNDS, _QUICK_SECONDS, _QUICK_WARM_UP_S = 2, 0.8, 0.3


def main() -> int:
    """Measure what the command line asks for; return 1 if a case could not be measured."""
    arguments = _parse()
    try:
        cases = _cases(arguments)
    except NotThere as error:
        print(error, file=sys.stderr)
        return _USAGE_ERROR
    names = [*(case.name for case in cases), OVERVIEW]
    if arguments.list:
        print("\n".join([*(f"{c.name:22} {c.title}" for c in cases), f"{OVERVIEW:22} all models"]))
        return 0
    wanted = set(_matching(names, arguments.case or ["*"]))
    if not wanted:
        print(f"no such case: {', '.join(arguments.case)}; see --list", file=sys.stderr)
        return _USAGE_ERROR
    if not SIGRUN.exists():
        print(f"there is no {SIGRUN}; run this with the Python of .venv", file=sys.stderr)
        return _USAGE_ERROR
    _build_models()
    print(f"requests are sent by {senders.description()}", flush=True)
    started_at, load_average = time.monotonic(), os.getloadavg()[0]
    with ServerPool() as pool:
        bench = Bench(pool=pool, seconds=arguments.seconds, warm_up_s=arguments.warm_up)
        comparisons = _compare([case for case in cases if case.name in wanted], bench, arguments)
        rows = _overview(bench, arguments) if OVERVIEW in wanted else []
    print(f"\n{report.summary(comparisons)}, {time.monotonic() - started_at:.0f} s in all")
    settings = {
        "rounds": arguments.rounds,
        "starts": arguments.starts,
        "seconds": arguments.seconds,
        "load_average_before": load_average,
        "sender": senders.description(),
    }
    _write(report.document(comparisons, rows, settings), comparisons, saves=arguments.save)
    return int(any(comparison.is_failure for comparison in comparisons))


def _cases(arguments: argparse.Namespace) -> list[Case]:
    """Return every case of this run. Raises `NotThere` if what it is to compare with cannot be."""
    flags = _batching_flags(arguments)
    cases = make_cases(flags)
    if arguments.against_cpp:
        if not arguments.list:
            cpp.build()
        cases += peer_cases(cpp_peer(), flags)
    if arguments.against or arguments.against_batching:
        peer = running_peer(arguments.against, arguments.against_batching)
        cases += peer_cases(peer, flags)
    if arguments.against_commit:
        cases += commit_cases(commits.install(arguments.against_commit))
    return cases


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--case", action="append", metavar="NAME", help="only this, or cpp-*; may be given again")
    add("--list", action="store_true", help="show the cases and end")
    add("--quick", action="store_true", help="few, short rounds: does it all work?")
    add("--rounds", type=int, help=f"rounds per case; {_ROUNDS}, or {_QUICK_ROUNDS} if quick")
    add("--starts", type=int, default=1, help="of a case's servers, with so many rounds each; 1")
    add("--seconds", type=float, help=f"of a round; {_SECONDS}, or {_QUICK_SECONDS} if quick")
    add("--against-cpp", action="store_true", help="a stand-in for TensorFlow Serving; is built")
    add("--against", metavar="HOST:PORT", help="the gRPC port of a running TensorFlow Serving")
    add("--against-batching", metavar="HOST:PORT", help="of one that was started to batch")
    add("--against-commit", metavar="REVISION", help="an older sigrun; is installed")
    add("--batching-parameters-file", metavar="FILE", help="for each sigrun that batches")
    add("--save", action="store_true", help="keep the results and a plot for the README")
    arguments = parser.parse_args()
    is_quick = arguments.quick
    arguments.rounds = arguments.rounds or (_QUICK_ROUNDS if is_quick else _ROUNDS)
    arguments.seconds = arguments.seconds or (_QUICK_SECONDS if is_quick else _SECONDS)
    arguments.warm_up = _QUICK_WARM_UP_S if is_quick else _WARM_UP_S
    if min(arguments.rounds, arguments.starts) < 1 or arguments.seconds <= 0:
        parser.error("--rounds, --starts and --seconds must be positive")
    return arguments


def _batching_flags(arguments: argparse.Namespace) -> tuple[str, ...]:
    file = arguments.batching_parameters_file
    return (f"--batching_parameters_file={os.path.abspath(file)}",) if file else ()


def _build_models() -> None:
    """Build the missing models, in a process of its own: this one never imports TensorFlow."""
    if missing_models():
        print("building models, which takes half a minute", flush=True)
        command = [sys.executable, "-m", "benchmarks.models"]
        subprocess.run(command, cwd=paths.ROOT, timeout=_BUILD_TIMEOUT_S, check=True)
    write_config()


def _compare(cases: list[Case], bench: Bench, arguments: argparse.Namespace) -> list[Comparison]:
    comparisons = []
    # Neighbours that compare the same two by other figures share their rounds.
    for _, group in itertools.groupby(cases, key=lambda case: (case.subject, case.reference)):
        for comparison in compare(list(group), bench, arguments.rounds, arguments.starts):
            comparisons.append(comparison)
            print(report.case_lines(comparison), flush=True)
    return comparisons


def _overview(bench: Bench, arguments: argparse.Namespace) -> list[OverviewRow]:
    print(f"\n{report.overview_head()}", flush=True)
    models = OVERVIEW_MODELS[:2] if arguments.quick else OVERVIEW_MODELS
    rows = []
    flags = _batching_flags(arguments)
    for row in overview(bench, max(1, arguments.rounds // 2), models, flags):
        rows.append(row)
        print(report.overview_line(row), flush=True)
    return rows


def _write(content: report.Document, comparisons: list[Comparison], *, saves: bool) -> None:
    report.write_json(paths.LATEST, content)
    if saves:
        report.write_json(paths.SAVED, content)
        report.plot(paths.PLOT, comparisons)


def _end(number: int, _: FrameType | None) -> NoReturn:
    """Leave as after an exception, so that the servers are killed."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
