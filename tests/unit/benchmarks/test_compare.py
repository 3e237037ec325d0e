"""Cases: which share their rounds, and what is said of one that cannot be measured."""

from __future__ import annotations

import pytest

from benchmarks.against import peer_cases, running_peer
from benchmarks.bench import Bench, Contender
from benchmarks.cases import Case, Figure, make_cases
from benchmarks.compare import compare
from benchmarks.load import Sample
from benchmarks.processes import DidNotStart, NotThere, ServerPool

BENCH = Bench(pool=ServerPool(), seconds=1.0, warm_up_s=0.0)


def contender(label: str, calls: list[str], sample: Sample | Exception) -> Contender:
    def prepare(_: Bench) -> None:
        if isinstance(sample, Exception):
            raise sample

    def measure(_: Bench) -> Sample:
        calls.append(label)
        assert isinstance(sample, Sample)
        return sample

    return Contender(label=label, prepare=prepare, measure=measure)


def cases(subject: Contender, reference: Contender) -> list[Case]:
    return [
        Case(
            name=figure.name,
            title="",
            figure=figure,
            target=1.0,
            subject=subject,
            reference=reference,
        )
        for figure in (Figure.REQUESTS_PER_S, Figure.CPU_US)
    ]


def test_figures_of_the_same_sides_share_rounds_that_take_turns() -> None:
    calls: list[str] = []
    ours = contender("ours", calls, Sample(requests_per_s=20, cpu_us=30))
    theirs = contender("theirs", calls, Sample(requests_per_s=10, cpu_us=10))
    rate, cpu = compare(cases(ours, theirs), BENCH, 2)
    assert calls == ["ours", "theirs", "theirs", "ours"]
    assert (rate.ratio, rate.verdict) == (2.0, "met")
    assert (cpu.ratio, cpu.verdict) == (3.0, "missed")


def test_servers_are_started_as_often_as_asked_for_with_as_many_rounds_each() -> None:
    calls: list[str] = []

    class Pool(ServerPool):
        def end(self) -> None:
            calls.append("end")

    bench = Bench(pool=Pool(), seconds=1.0, warm_up_s=0.0)
    ours = contender("ours", calls, Sample(requests_per_s=20))
    theirs = contender("theirs", calls, Sample(requests_per_s=10))
    (rate, _) = compare(cases(ours, theirs), bench, 2, starts=2)
    rounds = ["ours", "theirs", "theirs", "ours"]
    assert calls == [*rounds, "end", *rounds]
    assert len(rate.ratios) == 4


@pytest.mark.parametrize(
    ("error", "verdict"), [(NotThere("no compiler"), "not there"), (DidNotStart("?"), "failed")]
)
def test_what_cannot_be_measured_says_why(error: Exception, verdict: str) -> None:
    ours = contender("ours", [], Sample(requests_per_s=20, cpu_us=30))
    for comparison in compare(cases(ours, contender("theirs", [], error)), BENCH, 2):
        assert comparison.verdict == verdict
        assert str(error) in comparison.problem


def test_every_case_has_a_name_of_its_own() -> None:
    everything = [*make_cases(), *peer_cases(running_peer("host:1", "host:2"))]
    names = [case.name for case in everything]
    assert len(set(names)) == len(names)


def test_a_server_that_somebody_else_started_is_not_asked_for_its_cpu_time() -> None:
    everything = peer_cases(running_peer("host:1", "host:2"))
    assert Figure.CPU_US not in {case.figure for case in everything}


def test_a_running_server_without_batching_is_compared_without_batching_only() -> None:
    titles = [case.title for case in peer_cases(running_peer("host:1", None))]
    assert titles
    assert not [title for title in titles if "batching" in title]
