"""What was measured, as lines for a terminal, as JSON, and as a plot for the README."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Figure
from benchmarks.compare import Comparison, OverviewRow
from benchmarks.load import Sample
from benchmarks.specs import CPUS

_DISTRIBUTIONS = ("sigrun", "tensorflow", "grpcio", "protobuf", "numpy", "uvicorn", "fastapi")
_NOTE = (
    "Ratios are of the medians of interleaved rounds, in brackets the lowest, the median and the "
    "highest of a round.\nLoad and servers share the CPUs: trust ratios, not absolute figures."
)
_GOOD, _BAD, _PLAIN = "#2e7d4f", "#c0392b", "#7f8c8d"

Document = dict[str, Any]


def case_lines(comparison: Comparison) -> str:
    """Return what a case showed: its title, the ratio and the medians, CPU per request."""
    case = comparison.case
    head = f"{comparison.verdict:9} {case.name:22} {case.title}"
    if comparison.medians is None or comparison.ratio is None:
        return f"{head}\n{'':32} {comparison.problem}"
    subject, reference = comparison.medians
    ratios = comparison.ratios
    spread = f"[{min(ratios):.2f} .. {statistics.median(ratios):.2f} .. {max(ratios):.2f}]"
    unit = case.figure.value
    return (
        f"{head}\n{'':32} {comparison.ratio:.2f}x {spread}, target {target_text(case)}; "
        f"{case.subject.label} {number(subject)} {unit}, "
        f"{case.reference.label} {number(reference)} {unit}{_cpu_line(comparison)}"
    )


def _cpu_line(comparison: Comparison) -> str:
    if comparison.cpu_us is None or comparison.case.figure is Figure.CPU_US:
        return ""
    ours, theirs = comparison.cpu_us
    figures = f"{number(ours)} us, {number(theirs)} us"
    return f"\n{'':32} {ours / theirs:.2f}x CPU per request; {figures}"


def target_text(case: Case) -> str:
    """Return the target as `>= 4x`."""
    if case.target is None:
        return "none"
    return f"{'>=' if case.figure.is_better_when_high else '<='} {case.target:g}x"


def overview_head() -> str:
    """Return the titles of the overview's columns."""
    columns = f"{'req/s':>9} {'p50 ms':>9} {'p99 ms':>9} {'CPU us':>9}"
    return f"{'model':14} {'door':5} {'at once':>7}  {'server':22} {columns}"


def overview_line(row: OverviewRow) -> str:
    """Return one line of the overview."""
    head = f"{row.model:14} {row.door.value:5} {row.concurrency:>7}  {row.server:22}"
    if row.sample is None:
        return f"{head} {row.problem}"
    sample = row.sample
    figures = (sample.requests_per_s, sample.p50_ms, sample.p99_ms, sample.cpu_us)
    return f"{head} {' '.join(f'{number(figure):>9}' for figure in figures)}"


def summary(comparisons: Sequence[Comparison]) -> str:
    """Return how many cases ended how, and how to read them."""
    verdicts = [comparison.verdict for comparison in comparisons]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{_NOTE}\n{counted or 'no cases'}"


def number(value: float | None) -> str:
    """Return `value` with three significant digits, and whole when it is large."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _version(name: str) -> str | None:
    """Return what is installed; the peers of some cases need not be."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def document(
    comparisons: Sequence[Comparison], rows: Sequence[OverviewRow], settings: Document
) -> Document:
    """Return everything as a JSON document, with the machine and the versions."""
    return {
        "machine": {"cpu": _cpu_model(), "cpus": CPUS},
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _DISTRIBUTIONS},
        },
        "settings": settings,
        "cases": [_case_document(comparison) for comparison in comparisons],
        "overview": [_row_document(row) for row in rows],
    }


def write_json(path: Path, content: Document) -> None:
    """Write a document, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


def plot(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw how far each case is from its target, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "sigrun", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    shown = [c for c in comparisons if c.ratio is not None and c.case.target is not None]
    kinds = [
        ("requests per second (longer is better)", [c for c in shown if _is_rate(c)]),
        ("time (shorter is better)", [c for c in shown if not _is_rate(c)]),
    ]
    groups = [(title, group) for title, group in kinds if group]
    figure, axes = pyplot.subplots(
        len(groups),
        1,
        figsize=(9, 0.9 * len(groups) + 0.34 * len(shown)),
        height_ratios=[len(group) + 0.5 for _, group in groups],
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, group) in zip(axes[:, 0], groups, strict=True):
        _draw(axis, title, group)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw(axis: Any, title: str, group: Sequence[Comparison]) -> None:
    for at, comparison in enumerate(reversed(group)):
        ratio, target = comparison.ratio or 0.0, comparison.case.target or 0.0
        axis.barh(at, ratio, 0.6, color=_GOOD if comparison.verdict == "met" else _BAD)
        axis.plot([target, target], [at - 0.4, at + 0.4], color="black", linewidth=1.5)
        axis.annotate(f"{ratio:.2f}x", (max(ratio, target), at), (5, -3), "data", "offset points")
    axis.set_yticks(range(len(group)), [c.case.title for c in reversed(group)])
    axis.axvline(1, color=_PLAIN, linewidth=0.8, linestyle=":")
    axis.set_title(f"{title}; black: target", loc="left", fontsize=9)
    axis.set_xscale("symlog", linthresh=2)
    axis.set_xlim(0, 1.8 * max(max(c.ratio or 0, c.case.target or 0) for c in group))
    axis.set_xticks(
        ticks := [t for t in (0, 1, 2, 5, 10, 20, 50, 100, 500) if t <= axis.get_xlim()[1]]
    )
    axis.set_xticklabels([f"{tick}x" for tick in ticks])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)


def _is_rate(comparison: Comparison) -> bool:
    return comparison.case.figure is Figure.REQUESTS_PER_S


def _case_document(comparison: Comparison) -> Document:
    case, medians = comparison.case, comparison.medians
    content: Document = {
        "name": case.name,
        "title": case.title,
        "figure": case.figure.value,
        "target": case.target,
        "ratio": comparison.ratio,
        "verdict": comparison.verdict,
    }
    if medians is None:
        return {**content, "problem": comparison.problem}
    return {
        **content,
        "ratios": comparison.ratios,
        "subject": _side(case.subject.label, medians[0], comparison.subject),
        "reference": _side(case.reference.label, medians[1], comparison.reference),
    }


def _side(label: str, median: float, samples: Sequence[Sample]) -> Document:
    return {"label": label, "median": median, "rounds": [_measured(s) for s in samples]}


def _row_document(row: OverviewRow) -> Document:
    measured = {"problem": row.problem} if row.sample is None else _measured(row.sample)
    return {
        "model": row.model,
        "door": row.door.value,
        "concurrency": row.concurrency,
        "server": row.server,
        **measured,
    }


def _measured(sample: Sample) -> Document:
    figures = dataclasses.asdict(sample).items()
    return {name: float(f"{value:.4g}") for name, value in figures if value is not None}


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.*)", text)
    return found[1] if found else platform.machine()
