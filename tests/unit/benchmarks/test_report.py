"""What is said of a case."""

from __future__ import annotations

import dataclasses

from benchmarks import report
from benchmarks.bench import Contender
from benchmarks.cases import Case, Figure
from benchmarks.compare import Comparison
from benchmarks.load import Sample

SIDE = Contender(label="a server", prepare=lambda _: None, measure=lambda _: Sample())
CASE = Case(
    name="cpp-mlp",
    title="mlp",
    figure=Figure.REQUESTS_PER_S,
    target=0.9,
    subject=SIDE,
    reference=SIDE,
)


def test_cpu_per_request_is_shown_beside_the_figure_of_the_case() -> None:
    ours = [Sample(requests_per_s=rate, cpu_us=us) for rate, us in ((50, 30), (60, 40), (40, 90))]
    theirs = [Sample(requests_per_s=100, cpu_us=us) for us in (70, 80, 90)]
    lines = report.case_lines(Comparison(case=CASE, subject=ours, reference=theirs))
    assert "0.50x [0.40 .. 0.50 .. 0.60], target >= 0.9x" in lines
    assert "0.50x CPU per request; 40 us, 80 us" in lines


def test_nothing_is_said_of_the_cpu_time_of_a_server_that_is_not_ours() -> None:
    ours = [Sample(requests_per_s=50, cpu_us=30)]
    theirs = [Sample(requests_per_s=100)]
    lines = report.case_lines(Comparison(case=CASE, subject=ours, reference=theirs))
    assert "CPU" not in lines


def test_cpu_per_request_is_not_shown_twice() -> None:
    case = dataclasses.replace(CASE, figure=Figure.CPU_US)
    ours, theirs = [Sample(cpu_us=30)], [Sample(cpu_us=10)]
    lines = report.case_lines(Comparison(case=case, subject=ours, reference=theirs))
    assert "per request" not in lines
    assert "3.00x" in lines
